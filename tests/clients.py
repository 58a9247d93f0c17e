"""Bodies that clients send and get, recorded whole by whoever sits between: more of `tests.writers`."""

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
    completion,
    conventional,
    reason,
    record,
    text,
)


def _exchange(number: int, request: Json, response: Any) -> Made:
    return call(number, "kit", {"kit.kind": "llm", "kit.request": text(request), "kit.response": text(response)}), []


def ollama(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Ollama's own API has it: no ids of tool calls, results in order."""

    def written(message: Json) -> Json:
        called = [{"function": {"name": name, "arguments": given}} for _, name, given in calls_of(message)]
        return {
            "role": message["role"],
            "content": message["content"] or "",
            **({"tool_calls": called} if called else {}),
        }

    request = {"model": MODEL, "messages": [written(message) for message in asked], "tools": TOOLS}
    response = {"model": MODEL, "message": written(answer), "done": True, "done_reason": "stop", "eval_count": 9}
    return _exchange(number, request, response)


def anthropic_messages(asked: list[Json]) -> list[Json]:
    """Return messages as Anthropic's API has them; results of one turn are one message."""
    messages: list[Json] = []
    for message in asked:
        if message["role"] == "tool":
            block = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
            if messages[-1]["role"] == "user":
                messages[-1]["content"].append(block)
            else:
                messages.append({"role": "user", "content": [block]})
        elif message["role"] != "system":
            said = [{"type": "text", "text": message["content"]}] if message["content"] else []
            called = [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in calls_of(message)]
            messages.append({"role": message["role"], "content": [*said, *called] if called else message["content"]})
    return messages


def bedrock(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Amazon's Converse has it; results of one turn are one message."""

    def blocks(message: Json) -> list[Json]:
        if message["role"] == "tool":
            given = [{"text": message["content"]}]
            return [{"toolResult": {"toolUseId": message["tool_call_id"], "content": given, "status": "success"}}]
        said = [{"text": message["content"]}] if message["content"] else []
        return said + [{"toolUse": {"toolUseId": i, "name": n, "input": a}} for i, n, a in calls_of(message)]

    messages: list[Json] = []
    for message in asked:
        role = "user" if message["role"] == "tool" else message["role"]
        if messages and message["role"] == "tool" and messages[-1]["role"] == "user":
            messages[-1]["content"] += blocks(message)
        elif role != "system":
            messages.append({"role": role, "content": blocks(message)})
    specs = [
        {"toolSpec": {"name": tool["function"]["name"], "inputSchema": {"json": tool["function"]["parameters"]}}}
        for tool in TOOLS
    ]
    request: Json = {"modelId": MODEL, "messages": messages, "toolConfig": {"tools": specs}}
    if asked[0]["role"] == "system":
        request["system"] = [{"text": asked[0]["content"]}]
    ended = "tool_use" if "tool_calls" in answer else "end_turn"
    response = {"output": {"message": {"role": "assistant", "content": blocks(answer)}}, "stopReason": ended}
    return _exchange(number, request, response)


def chunks(asked: list[Json], answer: Json, number: int) -> Made:
    """Write a stream as the list of what came."""
    whole = answer["content"] or ""
    pieces: list[Json] = [{"content": half} for half in (whole[: len(whole) // 2], whole[len(whole) // 2 :]) if half]
    pieces += [{"tool_calls": [{"index": n, **one}]} for n, one in enumerate(answer.get("tool_calls", ()))]
    came = [{"id": f"chatcmpl-{number}", "choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    came.append({"id": f"chatcmpl-{number}", "choices": [{"index": 0, "delta": {}, "finish_reason": reason(answer)}]})
    return _exchange(number, {"model": MODEL, "messages": asked, "stream": True}, came)


def llama_index(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as LlamaIndex for TypeScript has it: calls and results in options."""

    def written(message: Json) -> Json:
        made: Json = {"role": message["role"], "content": message["content"] or ""}
        if message["role"] == "tool":
            result = {"id": message["tool_call_id"], "result": message["content"], "isError": False}
            made |= {"role": "user", "options": {"toolResult": result}}
        elif "tool_calls" in message:
            made["options"] = {"toolCall": [{"id": i, "name": n, "input": a} for i, n, a in calls_of(message)]}
        return made

    request = {"model": MODEL, "messages": [written(message) for message in asked]}
    return _exchange(number, request, {"message": written(answer)})


def authored(asked: list[Json], answer: Json, number: int) -> Made:
    """Write messages that have an author and a text."""

    def written(message: Json) -> Json:
        made: Json = {"author": message["role"], "text": message["content"]}
        made |= {"toolCallId": message["tool_call_id"]} if message["role"] == "tool" else {}
        called = [{"id": i, "name": n, "arguments": a} for i, n, a in calls_of(message)]
        return made | ({"toolCalls": called} if called else {})

    attributes = {
        "kit.kind": "llm",
        "kit.model": MODEL,
        "kit.messages": text([written(message) for message in asked]),
        "kit.response": text(written(answer)),
    }
    return call(number, "kit", attributes), []


def unknown_place(asked: list[Json], answer: Json, number: int) -> Made:
    """Write calls of tools under a key that nobody knows."""
    messages = [
        {"role": message["role"], "content": message["content"] or "", "x_tool_calls": message.get("tool_calls")}
        for message in asked
    ]
    return _exchange(number, {"model": MODEL, "messages": messages}, completion(answer, number))


def words_alone(asked: list[Json], answer: Json, number: int) -> Made:
    """Write the last words and the answer's, as decorators do that know nothing of messages."""
    said = {
        "llm.kind": "llm",
        "llm.model": MODEL,
        "llm.input": asked[-1]["content"],
        "llm.output": answer["content"] or "",
    }
    return call(number, "kit", said), []


def moved_contents(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Amazon's distribution leaves Traceloop's spans: the words in a record, the calls on the span."""
    attributes = conventional(number) | {"llm.request.type": "chat", "gen_ai.completion.0.role": "assistant"}
    for position, message in enumerate(asked):
        attributes[f"gen_ai.prompt.{position}.role"] = message["role"]
    for position, (identifier, name, given) in enumerate(calls_of(answer)):
        head = f"gen_ai.completion.0.tool_calls.{position}"
        attributes |= {f"{head}.id": identifier, f"{head}.name": name, f"{head}.arguments": text(given)}
    body = {
        "input": {"messages": [{"content": m["content"], "role": m["role"]} for m in asked if m["content"]]},
        "output": {"messages": [{"content": answer["content"], "role": "assistant"}] if answer["content"] else []},
    }
    return call(number, "opentelemetry.instrumentation.openai.v1", attributes), [record(number, "moved", body)]


WHOLE: Sequence[Writer] = (ollama, bedrock, chunks, llama_index, authored)
"""Writers that leave nothing out of these conversations."""

LOSSY: Sequence[Writer] = (unknown_place, words_alone, moved_contents)
"""Writers that leave something out, or put it where nobody looks."""
