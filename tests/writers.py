"""Conversations as instrumentations without a recording write them: by their documentation, a few by their source.

Each takes what was asked, in the words of chat completions, what was answered, and a number, and returns the call's
spans and log records. What it leaves out, the library leaves out.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.spans import START_NS, identifier, span

Json = dict[str, Any]
Made = tuple[list[Json], list[Json]]
Writer = Callable[[list[Json], Json, int], Made]
MODEL = "gpt-4o-mini"
TOOLS: list[Json] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Knows of {field}.",
            "parameters": {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
        },
    }
    for name, field in (("get_weather", "cityName"), ("search", "q"))
]


def text(value: Any) -> str:
    """Return a value as JavaScript writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def says(role: str, content: str | None, *calls: tuple[str, str, Json]) -> Json:
    """Return a message, with the tools that it calls."""
    asked = [
        {"id": i, "type": "function", "function": {"name": name, "arguments": text(given)}} for i, name, given in calls
    ]
    return {"role": role, "content": content, **({"tool_calls": asked} if asked else {})}


def gave(call_id: str, content: str) -> Json:
    """Return what a tool gave."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


SYSTEM = says("system", "You answer questions about the weather. Be brief.")
CONVERSATIONS: dict[str, list[Json]] = {
    "turns": [
        SYSTEM,
        says("user", "Weather in Oslo?"),
        says("assistant", None, ("call_1", "get_weather", {"cityName": "Oslo"})),
        gave("call_1", "4 °C"),
        says("assistant", "Cold."),
        says("user", 'And "Rome" 👋?'),
        says("assistant", "Warm."),
    ],
    "words and tools": [
        SYSTEM,
        says("user", "Oslo or Lima?"),
        says(
            "assistant",
            "Let me look.",
            ("call_1", "get_weather", {"cityName": "Oslo"}),
            ("call_2", "search", {"q": "Lima"}),
        ),
        gave("call_1", '{"celsius":4,"skyState":"snow"}'),
        gave("call_2", '[{"celsius":19}]'),
        says("assistant", "Lima."),
    ],
    "data": [says("user", "As JSON?"), says("assistant", '{"city": "Oslo", "celsius": 4}')],
}


def calls_of(message: Json) -> list[tuple[str, str, Json]]:
    """Return the tools that a message calls: id, name, arguments."""
    called = message.get("tool_calls", ())
    return [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in called]


def reason(answer: Json) -> str:
    """Return why an answer ended."""
    return "tool_calls" if "tool_calls" in answer else "stop"


def completion(answer: Json, number: int) -> Json:
    """Return what chat completions answer."""
    choice = {"index": 0, "message": answer, "finish_reason": reason(answer)}
    usage = {"prompt_tokens": 20 + number, "completion_tokens": 9}
    return {"id": f"chatcmpl-{number}", "object": "chat.completion", "choices": [choice], "usage": usage}


def call(number: int, scope: str, attributes: Json, *events: Json, name: str | None = None) -> list[Json]:
    """Return the span of a call."""
    made = span(f"c{number}", scope=scope, attributes=attributes, events=events, start=number)
    return [{**made, "name": name or "call"}]


def event(name: str, **attributes: Any) -> Json:
    """Return an event of a span."""
    return {"name": name, "time_ns": START_NS, "attributes": attributes}


def record(number: int, name: str, body: Any) -> Json:
    """Return a log record of a call."""
    return {
        "project": "default",
        "trace_id": identifier("t", 32),
        "span_id": identifier(f"c{number}", 16),
        "event_name": name,
        "time_ns": START_NS,
        "observed_ns": START_NS,
        "body": json.dumps(body),
        "attributes": "{}",
        "received_seq": 1,
        "record_index": 0,
    }


def conventional(number: int, operation: str = "chat") -> Json:
    """Return what the conventions have beside the messages."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.system": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": 20 + number,
        "gen_ai.usage.output_tokens": 9,
    }


# --- one event a message, its body in one attribute


def azure_inference(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Azure's inference client does."""
    content = "gen_ai.event.content"
    events = [event(f"gen_ai.{message['role']}.message", **{content: text(message)}) for message in asked]
    said = {key: answer[key] for key in ("content", "tool_calls") if key in answer}
    choice = {"message": said, "finish_reason": reason(answer), "index": 0}
    events.append(event("gen_ai.choice", **{"gen_ai.system": "az.ai.inference", content: text(choice)}))
    return call(number, "azure.ai.inference", conventional(number), *events), []


def semantic_kernel_dotnet(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as .NET's Semantic Kernel does, whose operation has another name."""
    spans, _ = azure_inference(asked, answer, number)
    attributes = conventional(number, "chat.completions") | {"gen_ai.response.finish_reason": "Stop"}
    made = {"attributes": json.dumps(attributes), "scope_name": "Microsoft.SemanticKernel.Diagnostics"}
    return [{**spans[0], **made}], []


def semantic_kernel_dotnet_old(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as it did before."""
    events = (
        event("gen_ai.content.prompt", **{"gen_ai.prompt": text(asked)}),
        event("gen_ai.content.completion", **{"gen_ai.completion": text([answer])}),
    )
    attributes = conventional(number, "chat.completions")
    return call(number, "Microsoft.SemanticKernel.Diagnostics", attributes, *events), []


# --- requests and responses whole


def braintrust(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Braintrust's libraries for Ruby, Go, Java and .NET do."""
    attributes = {
        "braintrust.span_attributes": text({"type": "llm"}),
        "braintrust.input_json": text(asked),
        "braintrust.output_json": text(completion(answer, number)["choices"]),
        "braintrust.metadata": text({"provider": "openai", "model": MODEL, "tools": TOOLS}),
    }
    return call(number, "braintrust", attributes), []


def langwatch(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as LangWatch does: values with their type."""
    attributes = {
        "langwatch.span.type": "llm",
        "langwatch.input": text({"type": "chat_messages", "value": asked}),
        "langwatch.output": text({"type": "chat_messages", "value": [answer]}),
        "gen_ai.request.model": MODEL,
    }
    return call(number, "langwatch", attributes), []


def cozeloop(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Coze's library for Go does, which Eino uses."""
    attributes = {
        "cozeloop.span_type": "model",
        "cozeloop.input": text({"messages": asked, "tools": TOOLS}),
        "cozeloop.output": text({"choices": completion(answer, number)["choices"]}),
        "cozeloop.model_name": MODEL,
        "cozeloop.output_tokens": 9,
    }
    return call(number, "cozeloop", attributes), []


def confident(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Confident AI does."""
    attributes = {
        "confident.span.type": "llm",
        "confident.llm.model": MODEL,
        "confident.span.input": text(asked),
        "confident.span.output": answer["content"] if "tool_calls" not in answer else text(answer),
    }
    return call(number, "confident", attributes), []


def voltagent(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as VoltAgent does: the AI SDK's messages, and the answer's text and calls apart."""
    attributes: Json = {
        "span.type": "llm",
        "llm.model": MODEL,
        "llm.messages": text([_ai_sdk(message) for message in asked]),
        "llm.tools": text([tool["function"] for tool in TOOLS]),
    }
    if answer["content"]:
        attributes["output"] = answer["content"]
    if "tool_calls" in answer:
        attributes["llm.tool_calls"] = text(
            _ai_sdk(says("assistant", None) | {"tool_calls": answer["tool_calls"]})["content"]
        )
    return call(number, "@voltagent/core", attributes), []


def _ai_sdk(message: Json) -> Json:
    if message["role"] == "tool":
        is_json = message["content"][:1] in "[{"
        output = (
            {"type": "json", "value": json.loads(message["content"])}
            if is_json
            else {"type": "text", "value": message["content"]}
        )
        return {
            "role": "tool",
            "content": [{"type": "tool-result", "toolCallId": message["tool_call_id"], "output": output}],
        }
    words = [{"type": "text", "text": message["content"]}] if message["content"] else []
    asked = [
        {"type": "tool-call", "toolCallId": i, "toolName": name, "input": given} for i, name, given in calls_of(message)
    ]
    return {"role": message["role"], "content": [*words, *asked] if message["role"] != "system" else message["content"]}


# --- messages in other shapes


def livekit(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as LiveKit's agents do: items, each text in a list. Of an answer with calls it keeps no words."""

    def items(message: Json) -> list[Json]:
        if message["role"] == "tool":
            return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}]
        said = (
            [{"type": "message", "role": message["role"], "content": [message["content"]]}]
            if message["content"]
            else []
        )
        return said + [
            {"type": "function_call", "call_id": i, "name": n, "arguments": text(a)} for i, n, a in calls_of(message)
        ]

    attributes: Json = {
        "gen_ai.request.model": MODEL,
        "lk.chat_ctx": text({"items": [i for m in asked for i in items(m)]}),
    }
    if "tool_calls" in answer:
        attributes["lk.response.function_calls"] = text(items({**answer, "content": None}))
    else:
        attributes["lk.response.text"] = answer["content"]
    return call(number, "livekit-agents", attributes), []


def rig(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as Rust's Rig does: blocks of calls without a type."""

    def written(message: Json) -> Json:
        if message["role"] == "tool":
            given = [{"type": "text", "text": message["content"]}]
            return {
                "role": "user",
                "content": [{"type": "toolresult", "id": message["tool_call_id"], "content": given}],
            }
        said = [{"type": "text", "text": message["content"]}] if message["content"] else []
        return {
            "role": message["role"],
            "content": said + [{"id": i, "function": {"name": n, "arguments": a}} for i, n, a in calls_of(message)],
        }

    attributes = conventional(number) | {
        "gen_ai.input.messages": text([written(message) for message in asked if message["role"] != "system"]),
        "gen_ai.output.messages": text([written(answer)]),
    }
    if asked[0]["role"] == "system":
        attributes["gen_ai.system_instructions"] = asked[0]["content"]
    return call(number, "rig", attributes), []


def gemini_of(message: Json) -> Json:
    """Return a message in Gemini's shape, as its clients for Java and Go spell it."""
    if message["role"] == "tool":
        given = {"id": message["tool_call_id"], "name": "f", "response": {"output": message["content"]}}
        return {"role": "user", "parts": [{"functionResponse": given}]}
    said = [{"text": message["content"]}] if message["content"] else []
    asked = [{"functionCall": {"id": i, "name": name, "args": given}} for i, name, given in calls_of(message)]
    return {"role": "model" if message["role"] == "assistant" else "user", "parts": [*said, *asked]}


def adk_java(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as ADK for Java does; the instructions' role is the user's."""
    config = {"systemInstruction": gemini_of(asked[0])} if asked[0]["role"] == "system" else {}
    contents = [gemini_of(message) for message in asked if message["role"] != "system"]
    attributes = {
        "gcp.vertex.agent.llm_request": text({"model": MODEL, "config": config, "contents": contents}),
        "gcp.vertex.agent.llm_response": text(
            {"content": gemini_of(answer), "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 9}}
        ),
    }
    return call(number, "gcp.vertex.agent", attributes, name="call_llm"), []


def adk_go(asked: list[Json], answer: Json, number: int) -> Made:
    """Write as ADK for Go does: fields in capitals."""
    spans, _ = adk_java(asked, answer, number)
    attributes = {
        name: text({key[:1].upper() + key[1:]: item for key, item in json.loads(value).items()})
        for name, value in json.loads(spans[0]["attributes"]).items()
    }
    return [{**spans[0], "attributes": json.dumps(attributes)}], []


def agentcore(asked: list[Json], answer: Json, number: int) -> Made:
    """Write Strands' spans as Amazon's distribution leaves them: what was said in a record, in boxes."""

    def blocks(message: Json) -> str:
        if message["role"] == "tool":
            given = [{"text": message["content"]}]
            return text([{"toolResult": {"toolUseId": message["tool_call_id"], "status": "success", "content": given}}])
        said = [{"text": message["content"]}] if message["content"] else []
        return text(said + [{"toolUse": {"toolUseId": i, "name": n, "input": a}} for i, n, a in calls_of(message)])

    ended = {"message": blocks(answer), "finish_reason": "tool_use" if "tool_calls" in answer else "end_turn"}
    body = {
        "output": {"messages": [{"content": ended, "role": "assistant"}]},
        "input": {"messages": [{"content": {"content": blocks(m)}, "role": m["role"]} for m in asked]},
    }
    scope = "strands.telemetry.tracer"
    return call(number, scope, conventional(number) | {"gen_ai.system": "strands-agents"}, name="chat"), [
        record(number, scope, body)
    ]


def details_in_a_body(asked: list[Json], answer: Json, number: int) -> Made:
    """Write the conventions' event with everything in its body, where others have attributes."""

    def parts(message: Json) -> Json:
        if message["role"] == "tool":
            given = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
            return {"role": "tool", "parts": [given]}
        said = [{"type": "text", "content": message["content"]}] if message["content"] else []
        called = [{"type": "tool_call", "id": i, "name": n, "arguments": a} for i, n, a in calls_of(message)]
        return {"role": message["role"], "parts": [*said, *called]}

    body = {"gen_ai.input.messages": [parts(m) for m in asked], "gen_ai.output.messages": [parts(answer)]}
    return call(number, "acme", conventional(number)), [
        record(number, "gen_ai.client.inference.operation.details", body)
    ]


# --- what leaves things out


def agentgateway(asked: list[Json], answer: Json, number: int) -> Made:
    """Write a list of texts, each a message's JSON without its calls, and the answer's words alone."""
    said = [text({"role": message["role"], "content": message["content"]}) for message in asked]
    attributes = conventional(number) | {"gen_ai.prompt": said, "gen_ai.completion": [answer["content"] or ""]}
    return call(number, "agentgateway", attributes), []


def openlit_old(asked: list[Json], answer: Json, number: int) -> Made:
    """Write the whole prompt as lines of one text, which anybody's words may look like."""
    lines = "\n".join(f"{message['role']}: {message['content']}" for message in asked)
    events = (
        event("gen_ai.content.prompt", **{"gen_ai.prompt": lines}),
        event("gen_ai.content.completion", **{"gen_ai.completion": answer["content"] or ""}),
    )
    return call(number, "openlit.instrumentation.openai", conventional(number), *events), []


def spring_ai_old(asked: list[Json], answer: Json, number: int) -> Made:
    """Write the texts of all messages, and nobody's roles."""
    attributes = conventional(number) | {
        "gen_ai.prompt": text([message["content"] or "" for message in asked]),
        "gen_ai.completion": text([answer["content"] or ""]),
    }
    return call(number, "org.springframework.boot", attributes), []


def traceloop_ruby(asked: list[Json], answer: Json, number: int) -> Made:
    """Write roles and texts, and no calls of tools."""
    attributes = conventional(number) | {"llm.request.type": "chat", "gen_ai.completion.0.role": "assistant"}
    for position, message in enumerate(asked):
        attributes[f"gen_ai.prompt.{position}.role"] = message["role"]
        attributes[f"gen_ai.prompt.{position}.content"] = message["content"] or ""
    attributes["gen_ai.completion.0.content"] = answer["content"] or ""
    attributes["gen_ai.completion.0.finish_reason"] = reason(answer)
    return call(number, "Traceloop", attributes), []


def langfuse_stream(asked: list[Json], answer: Json, number: int) -> Made:
    """Write a streamed answer as Langfuse for JavaScript does: calls without their ids, and no words beside them."""
    called = {"tool_calls": [{"function": one["function"]} for one in answer.get("tool_calls", ())]}
    attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.input": text({"messages": asked, "tools": TOOLS}),
        "langfuse.observation.output": text(called) if called["tool_calls"] else answer["content"],
        "langfuse.observation.model.name": MODEL,
    }
    return call(number, "langfuse-sdk", attributes), []


WHOLE: Sequence[Writer] = (
    azure_inference,
    semantic_kernel_dotnet,
    semantic_kernel_dotnet_old,
    braintrust,
    langwatch,
    cozeloop,
    confident,
    voltagent,
    rig,
    adk_java,
    adk_go,
    agentcore,
    details_in_a_body,
)
"""Writers that leave nothing out of these conversations."""

LOSSY: Sequence[Writer] = (livekit, agentgateway, openlit_old, spring_ai_old, traceloop_ruby, langfuse_stream)
"""Writers that leave something out: what comes of them is what passed, or no transition."""
