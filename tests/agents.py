"""What frameworks of agents write of their calls: more of `tests.writers`, as runs over a scripted server gave it."""

from collections.abc import Sequence
from typing import Any

from tests.writers import (
    MODEL,
    TOOLS,
    Json,
    Made,
    Writer,
    call,
    calls_of,
    conventional,
    reason,
    record,
    text,
)


def logfire_agents(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Logfire 5.4 over OpenAI's agents does: the exchange in one list, a turn's words beside each call too."""

    def events(message: Json) -> list[Json]:
        named = {"event.name": f"gen_ai.{message['role']}.message", "role": message["role"]}
        if message["role"] == "tool":
            return [{**named, "id": message["tool_call_id"], "content": message["content"], "name": "f"}]
        said = [{**named, "content": message["content"]}] if message["content"] else []
        words = {"content": message["content"]} if message["content"] else {}
        return said + [{**named, **words, "tool_calls": [one]} for one in message.get("tool_calls", ())]

    def items(message: Json) -> list[Json]:
        if message["role"] == "tool":
            return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}]
        said = [{"role": message["role"], "content": message["content"]}] if message["content"] else []
        return said + [
            {"type": "function_call", "call_id": i, "name": n, "arguments": text(a)} for i, n, a in calls_of(message)
        ]

    output = [{"type": "message", **item} if "role" in item else item for item in items(answer)]
    system = next((message["content"] for message in asked if message["role"] == "system"), None)
    thought = {"event.name": "gen_ai.unknown", "role": "assistant", "content": "reasoning\n\nSee JSON for details"}
    whole = [event for message in asked for event in events(message)]
    attributes = conventional(number) | {
        "response_id": f"resp_{number}",
        "gen_ai.response.id": f"resp_{number}",
        "response": text({"id": f"resp_{number}", "object": "response", "instructions": system, "output": output}),
        "raw_input": text([item for message in asked if message["role"] != "system" for item in items(message)]),
        "events": text([*whole, {**thought, "data": {"type": "reasoning", "summary": []}}, *events(answer)]),
    }
    return call(number, "logfire.openai_agents", attributes), []


def agentscope(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as AgentScope 2 does, by its source: a run's calls, their results and its words are one message."""

    def parts(message: Json) -> list[Json]:
        if message["role"] == "tool":
            given = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
            return [given]
        said = [{"type": "text", "content": message["content"]}] if message["content"] else []
        return said + [{"type": "tool_call", "id": i, "name": n, "arguments": a} for i, n, a in calls_of(message)]

    messages: list[Json] = []
    for message in asked:
        role = "assistant" if message["role"] == "tool" else message["role"]
        if messages and role == "assistant" == messages[-1]["role"]:
            messages[-1]["parts"] += parts(message)
        else:
            messages.append({"role": role, "parts": parts(message), "name": role, "finish_reason": "stop"})
    attributes = conventional(number) | {
        "gen_ai.input.messages": text(messages),
        "gen_ai.output.messages": text([{"role": "assistant", "parts": parts(answer), "finish_reason": "stop"}]),
    }
    return call(number, "agentscope", attributes), []


def future_agi(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Future AGI's instrumentation of OpenAI does: a line about the calls where the answer's words stand."""
    lines = "\n".join(f"Function: {name}({text(given)})" for _, name, given in calls_of(answer))
    attributes = {
        "gen_ai.span.kind": "LLM",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.output_tokens": 9,
        "input.value": asked[0]["content"],
        "output.value": answer["content"] or lines,
    }
    for side, messages in (("input", asked), ("output", [answer])):
        for position, message in enumerate(messages):
            head = f"gen_ai.{side}.messages.{position}.message"
            attributes[f"{head}.role"] = message["role"]
            if message["content"]:
                attributes[f"{head}.content"] = message["content"]
            if message["role"] == "tool":
                attributes[f"{head}.tool_call_id"] = message["tool_call_id"]
            for index, (call_id, name, given) in enumerate(calls_of(message)):
                one = f"{head}.tool_calls.{index}.tool_call"
                attributes |= {f"{one}.id": call_id, f"{one}.function.name": name}
                attributes[f"{one}.function.arguments"] = text(given)
    return call(number, "traceai_openai", attributes, name="ChatCompletion"), []


# --- what leaves things out


def pipecat(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Pipecat 1.14 does: the words of an answer alone, and the instructions twice."""
    attributes: Json = {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.operation.name": "chat",
        "gen_ai.output.type": "text",
        "stream": True,
        "input": text(asked),
        "tools": text(TOOLS),
    }
    if asked[0]["role"] == "system":
        attributes["gen_ai.system_instructions"] = asked[0]["content"]
    if answer["content"]:
        attributes["output"] = answer["content"]
    return call(number, "pipecat", attributes, name="llm"), []


def ag2(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as AG2 1.2 does: everything but the agent's prompt."""
    attributes = conventional(number) | {
        "gen_ai.input.messages": text([message for message in asked if message["role"] != "system"]),
        "gen_ai.output.messages": text([answer]),
        "gen_ai.response.finish_reasons": [reason(answer)],
    }
    return call(number, "opentelemetry.instrumentation.ag2", attributes), []


def botocore(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as OpenTelemetry's botocore 0.66b2 does: results twice, and of an answer its calls or its words."""
    logs: list[Json] = []
    for message in asked:
        calls = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls_of(message)
        ]
        said: list[Any] = [{"text": message["content"]}] if message["content"] else []
        if message["role"] == "tool":
            logs.append(record(number, "gen_ai.tool.message", {"id": message["tool_call_id"], "content": said}))
            block = {"toolUseId": message["tool_call_id"], "content": said, "status": "success"}
            logs.append(record(number, "gen_ai.user.message", {"content": [{"toolResult": block}]}))
        else:
            said += [{"toolUse": {"toolUseId": i, "name": n, "input": a}} for i, n, a in calls_of(message)]
            body = {"content": said, **({"tool_calls": calls} if calls else {})}
            logs.append(record(number, f"gen_ai.{message['role']}.message", body))
    calls = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls_of(answer)]
    told: Json = {"tool_calls": calls} if calls else {"content": [{"text": answer["content"]}]}
    ended = {"index": 0, "finish_reason": "tool_use" if calls else "end_turn", "message": told}
    logs.append(record(number, "gen_ai.choice", ended))
    scope = "opentelemetry.instrumentation.botocore.bedrock-runtime"
    return call(number, scope, conventional(number)), logs


WHOLE: Sequence[Writer] = (logfire_agents, agentscope, future_agi)
LOSSY: Sequence[Writer] = (pipecat, ag2, botocore)
