"""Conversations as instrumentations, most of them JavaScript's, left them over a scripted server.

Versions of 2026-11-30: `@arizeai/openinference-instrumentation-anthropic`, `@arizeai/openinference-vercel` 2.8,
`@langfuse/openai` 5.11, `@traceloop/instrumentation-openai` 0.27, `@traceloop/instrumentation-llamaindex`,
`@langtrase/typescript-sdk` 6.3; Python's `monocle_apptrace` 0.8.15, `llama-index-observability-otel`.
"""

from collections.abc import Sequence
from typing import Any

from tests.clients import anthropic_messages
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
    event,
    reason,
    says,
    text,
)


def openinference_anthropic(asked: list[Json], answer: Json, number: int) -> Made:
    """Write messages without the instructions, results as a user's, the last of a turn alone; the request has all."""
    request: Json = {"model": MODEL, "max_tokens": 9, "messages": anthropic_messages(asked)}
    if asked[0]["role"] == "system":
        request["system"] = asked[0]["content"]
    said = anthropic_messages([answer])[0]["content"]
    blocks = [{"type": "text", "text": said}] if isinstance(said, str) else said
    response = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": blocks, "stop_reason": "x"}
    attributes: Json = {
        "openinference.span.kind": "LLM",
        "llm.model_name": MODEL,
        "llm.request.model_name": MODEL,
        "input.value": text(request),
        "output.value": text(response),
    }
    for position, message in enumerate(request["messages"]):
        head = f"llm.input_messages.{position}.message"
        attributes[f"{head}.role"] = message["role"]
        if isinstance(message["content"], str):
            attributes[f"{head}.content"] = message["content"]
            continue
        for block in message["content"]:
            if block["type"] == "tool_result":
                attributes |= {f"{head}.tool_call_id": block["tool_use_id"], f"{head}.content": block["content"]}
        attributes |= _numbered_calls(head, [block for block in message["content"] if block["type"] == "tool_use"])
        words = [block["text"] for block in message["content"] if block["type"] == "text"]
        for at, said in enumerate(words):
            attributes[f"{head}.contents.{at}.message_content.type"] = "text"
            attributes[f"{head}.contents.{at}.message_content.text"] = said
    return call(number, "@arizeai/openinference-instrumentation-anthropic", attributes), []


def _numbered_calls(head: str, blocks: Any) -> Json:
    made: Json = {}
    for at, block in enumerate(blocks):
        one = f"{head}.tool_calls.{at}.tool_call"
        made |= {f"{one}.id": block["id"], f"{one}.function.name": block["name"]}
        made[f"{one}.function.arguments"] = text(block["input"])
    return made


def openinference_vercel(asked: list[Json], answer: Json, number: int) -> Made:
    """Write the AI SDK's own attributes, and what a processor makes of them: no words beside calls."""
    calls = [{"toolCallId": i, "toolName": n, "input": text(a)} for i, n, a in calls_of(answer)]
    attributes: Json = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.id": MODEL,
        "ai.prompt.messages": text([_ai_sdk(message) for message in asked]),
        "ai.response.finishReason": reason(answer).replace("_", "-"),
        "openinference.span.kind": "LLM",
        "llm.model_name": MODEL,
        "llm.invocation_parameters": text({"model": MODEL}),
        "input.value": text([_ai_sdk(message) for message in asked]),
        "llm.output_messages.0.message.role": "assistant",
    }
    if answer["content"]:
        attributes |= {"ai.response.text": answer["content"], "output.value": answer["content"]}
    if calls:
        attributes["ai.response.toolCalls"] = text(calls)
        blocks = ({"id": i, "name": n, "input": a} for i, n, a in calls_of(answer))
        attributes |= _numbered_calls("llm.output_messages.0.message", blocks)
    for position, message in enumerate(asked):
        head = f"llm.input_messages.{position}.message"
        attributes[f"{head}.role"] = message["role"]
        if message["role"] == "tool":
            attributes[f"{head}.tool_call_id"] = message["tool_call_id"]
            attributes[f"{head}.content"] = text([{"type": "text", "value": message["content"]}])
        elif message["content"]:
            attributes[f"{head}.content"] = message["content"]
        blocks = ({"id": i, "name": n, "input": a} for i, n, a in calls_of(message))
        attributes |= _numbered_calls(head, blocks)
    return call(number, "ai", attributes), []


def _ai_sdk(message: Json) -> Json:
    if message["role"] == "tool":
        output = {"type": "text", "value": message["content"]}
        block = {"type": "tool-result", "toolCallId": message["tool_call_id"], "toolName": "f", "output": output}
        return {"role": "tool", "content": [block]}
    if message["role"] == "system":
        return message
    words = [{"type": "text", "text": message["content"]}] if message["content"] else []
    called = [
        {"type": "tool-call", "toolCallId": i, "toolName": name, "input": given} for i, name, given in calls_of(message)
    ]
    return {"role": message["role"], "content": [*words, *called]}


def monocle(asked: list[Json], answer: Json, number: int) -> Made:
    """Write each message under its role, as a list of texts that are JSON, and calls of tools in a shape of its own."""

    def said(message: Json) -> str:
        calls = [text({"tool_function": n, "tool_arguments": text(a)}) for _, n, a in calls_of(message)]
        return text({message["role"]: calls or message["content"]})

    calls = [{"tool_id": i, "tool_name": n, "tool_arguments": text(a)} for i, n, a in calls_of(answer)]
    events = (
        event("data.input", input=[said(message) for message in asked]),
        event("data.output", response=text({"assistant": calls or answer["content"]})),
        event("metadata", completion_tokens=9, prompt_tokens=20, finish_reason=reason(answer)),
    )
    attributes = {"span.type": "inference", "entity.2.name": MODEL, "entity.2.type": f"model.llm.{MODEL}"}
    return call(number, "monocle_apptrace", attributes, *events), []


def llama_index(asked: list[Json], answer: Json, number: int) -> Made:
    """Write two events, of the request and of the response, their fields apart, messages as typed blocks."""

    def blocks(message: Json) -> Json:
        said = [{"block_type": "text", "text": message["content"]}] if message["content"] else []
        called = [
            {"block_type": "tool_call", "tool_call_id": i, "tool_name": n, "tool_kwargs": text(a)}
            for i, n, a in calls_of(message)
        ]
        kept = {key: message[key] for key in ("tool_call_id", "tool_calls") if key in message}
        return {"role": message["role"], "additional_kwargs": kept, "blocks": [*said, *called]}

    said = text([blocks(message) for message in asked])
    response = {
        "response.message.role": "assistant",
        "response.message.blocks": text(blocks(answer)["blocks"]),
        "response.raw.id": f"chatcmpl-{number}",
        "response.raw.choices": text(completion(answer, number)["choices"]),
        "response.raw.object": "chat.completion",
        "response.raw.usage.completion_tokens": 9,
    }
    if "tool_calls" in answer:
        response["response.message.additional_kwargs.tool_calls"] = text(answer["tool_calls"])
    events = (
        event("LLMChatStartEvent", messages=said, **{"model_dict.is_chat_model": True, "model_dict.model_name": MODEL}),
        event("LLMChatEndEvent", messages=said, **response),
    )
    return call(number, "llamaindex.opentelemetry.tracer", {}, *events), []


def langfuse_pieces(asked: list[Json], answer: Json, number: int) -> Made:
    """Write a streamed answer's calls run together, without ids and words."""
    attributes: Json = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.input": text({"messages": asked, "tools": TOOLS}),
        "langfuse.observation.output": answer["content"],
        "langfuse.observation.model.name": MODEL,
    }
    if calls := calls_of(answer):
        one = {"name": calls[-1][1], "arguments": "".join(text(given) for _, _, given in calls)}
        attributes["langfuse.observation.output"] = text({"tool_calls": [{"function": one}]})
    return call(number, "langfuse-sdk", attributes), []


def traceloop_responses(asked: list[Json], answer: Json, number: int) -> Made:
    """Write all that was sent as the text of one user's message, and the words of the answer alone."""
    said = [{"role": "user", "parts": [{"type": "text", "content": text(asked)}]}]
    told = [{"role": "assistant", "finish_reason": "stop", "parts": [{"type": "text", "content": answer["content"]}]}]
    attributes = conventional(number) | {
        "gen_ai.input.messages": text(said),
        "gen_ai.output.messages": text(told),
        "gen_ai.response.id": f"resp_{number}",
    }
    return call(number, "@traceloop/instrumentation-openai", attributes), []


def traceloop_llama_index(asked: list[Json], answer: Json, number: int) -> Made:
    """Write no calls of tools: answers that only call are empty, and results are a user's."""

    def parts(message: Json) -> Json:
        role = "user" if message["role"] == "tool" else message["role"]
        return {"role": role, "parts": [{"type": "text", "content": message["content"] or ""}]}

    attributes = conventional(number) | {
        "gen_ai.input.messages": text([parts(message) for message in asked]),
        "gen_ai.output.messages": text([parts(answer) | {"finish_reason": ""}]),
    }
    return call(number, "@traceloop/instrumentation-llamaindex", attributes), []


def langtrace_calls(asked: list[Json], answer: Json, number: int) -> Made:
    """Write the JSON of the calls where the answer has no words, and of blocks a message each, some of them empty."""
    told = answer["content"] or text(answer["tool_calls"])
    lost = [{"role": "assistant"} for _ in answer.get("tool_calls", ()) if answer["content"]]
    events = (
        event("gen_ai.content.prompt", **{"gen_ai.prompt": text(asked)}),
        event("gen_ai.content.completion", **{"gen_ai.completion": text([says("assistant", told), *lost])}),
    )
    return call(number, "@langtrase/typescript-sdk", conventional(number), *events), []


WHOLE: Sequence[Writer] = (openinference_anthropic, openinference_vercel, llama_index)
"""Writers that leave nothing out of these conversations."""

LOSSY: Sequence[Writer] = (
    monocle,
    langfuse_pieces,
    traceloop_responses,
    langtrace_calls,
)
"""Writers that leave something out."""

SILENT: Sequence[Writer] = (traceloop_llama_index,)
"""Writers that leave calls of tools out where there were words, too, which nothing shows."""
