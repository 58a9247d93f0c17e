"""OpenAI's Responses API, as vLLM speaks it: how its answers are recorded and reduced, beside `serve.api.answers`.

Token ids come as `input_messages` and `output_messages` where `enable_response_messages` is set, in a stream with its
last event. vLLM's log-probabilities come with text only: of an answer that only calls a tool the ids are known, and no
more. The embedded engine has them beside the ids as well.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from serve.api.answers import Choice, Json, Recording, Wants, without_strict

LOGPROBS = "message.output_text.logprobs"
ENDED = ("response.completed", "response.incomplete", "response.failed")


def client_wants(request: Mapping[str, Any]) -> Wants:
    """Read from a request what must stay in its answer."""
    included = request.get("include")
    return Wants(
        logprobs=isinstance(included, list) and LOGPROBS in included,
        token_ids=bool(request.get("enable_response_messages")),
    )


def ask_for_evidence(request: Json) -> Json:
    """Return the request with token ids and log-probabilities asked for, whatever the client wanted.

    >>> ask_for_evidence({"input": "a", "include": None})["include"]
    ['message.output_text.logprobs']
    """
    included = request.get("include") or []
    if isinstance(included, list) and LOGPROBS not in included:
        included = [*included, LOGPROBS]
    return {**request, "include": included, "enable_response_messages": True}


def loosen(request: Json) -> Json:
    """Return the request with no tool marked `strict`, as `without_strict` does: here the mark stands on the tool."""
    tools = request.get("tools")
    if not isinstance(tools, list):
        return request
    marked = [isinstance(tool, dict) and "strict" in tool for tool in tools]
    if not any(marked):
        return without_strict(request)
    loose = [
        {name: value for name, value in tool.items() if name != "strict"} if is_marked else tool
        for tool, is_marked in zip(tools, marked, strict=True)
    ]
    return {**request, "tools": loose}


def as_chat(request: Mapping[str, Any]) -> Json:
    """Return the request as the chat API would have it, which is how spans describe it.

    >>> as_chat({"instructions": "Be brief.", "input": "a", "max_output_tokens": 3, "temperature": 1.0})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'instructions': 'Be brief.', 'max_output_tokens': 3, 'temperature': 1.0,
     'messages': [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'a'}], 'max_tokens': 3}
    """
    chat = {name: value for name, value in request.items() if name not in ("input", "tools", "text")}
    chat["messages"] = _join_turns(_messages(request))
    if request.get("max_output_tokens") is not None:
        chat["max_tokens"] = request["max_output_tokens"]
    if tools := request.get("tools"):
        chat["tools"] = [_chat_tool(tool) for tool in tools if isinstance(tool, dict)]
    text = request.get("text")
    if isinstance(text, dict) and isinstance(text.get("format"), dict):
        chat["response_format"] = text["format"]
    return chat


def _join_turns(messages: Iterator[Json]) -> list[Json]:
    """Join the items of one turn of the assistant, as vLLM does: reasoning, what it said, the tools it called."""
    joined: list[Json] = []
    for message in messages:
        last = joined[-1] if joined else {}
        if last.get("role") == "assistant" == message["role"] and _goes_on(last, message):
            joined[-1] = {**last, **message}
            if "tool_calls" in message:
                joined[-1]["tool_calls"] = [*last.get("tool_calls", ()), *message["tool_calls"]]
        else:
            joined.append(message)
    return joined


def _goes_on(turn: Json, message: Json) -> bool:
    if "tool_calls" in message:
        return True
    return "content" in message and "content" not in turn and "tool_calls" not in turn


def _messages(request: Mapping[str, Any]) -> Iterator[Json]:
    if isinstance(instructions := request.get("instructions"), str):
        yield {"role": "system", "content": instructions}
    asked = request.get("input")
    if isinstance(asked, str):
        yield {"role": "user", "content": asked}
        return
    for item in asked if isinstance(asked, list) else ():
        if not isinstance(item, dict):
            continue
        kind = item.get("type", "message")
        if kind == "message":
            yield {"role": item.get("role"), "content": item.get("content")}
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            yield {"role": "assistant", "tool_calls": [call]}
        elif kind == "function_call_output":
            yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        elif kind == "reasoning":
            yield {"role": "assistant", "reasoning": "".join(_texts(item))}


def _chat_tool(tool: Json) -> Json:
    if "function" in tool or tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def read(recording: Recording, body: Mapping[str, Any]) -> None:
    """Take in a whole answer, or one event of a stream, of which only the last says everything."""
    kind = body.get("type")
    if kind == "error":
        recording.error = "error"
    elif kind in ENDED:
        _read_whole(recording, body.get("response") or {})
    elif body.get("object") == "response":
        _read_whole(recording, body)


def _read_whole(recording: Recording, body: Mapping[str, Any]) -> None:
    recording.id = body.get("id")
    recording.model = body.get("model")
    if body.get("status") == "failed" or body.get("error"):
        recording.error = "engine_failed"
    recording.read_usage(body)
    recording.prompt_token_ids = _tokens(body.get("input_messages")) or None
    choice = recording.choices.setdefault(0, Choice())
    for item in body.get("output") or ():
        _read_item(choice, item)
    choice.token_ids = _tokens(body.get("output_messages"))
    choice.logprobs = choice.logprobs or _tokens(body.get("output_messages"), "logprobs")
    is_cut = (body.get("incomplete_details") or {}).get("reason") == "max_output_tokens"
    choice.finish_reason = "length" if is_cut else "tool_calls" if choice.tool_calls else "stop"


def _read_item(choice: Choice, item: Mapping[str, Any]) -> None:
    match item.get("type"):
        case "message":
            for part in item.get("content") or ():
                choice.text += part.get("text") or ""
                choice.refusal += part.get("refusal") or ""
                choice.logprobs.extend(entry["logprob"] for entry in part.get("logprobs") or ())
        case "reasoning":
            choice.reasoning += "".join(_texts(item))
        case "function_call":
            call = {"id": item.get("call_id"), "name": item.get("name") or "", "arguments": item.get("arguments") or ""}
            choice.tool_calls[len(choice.tool_calls)] = call


def _texts(item: Mapping[str, Any]) -> Iterator[str]:
    for part in item.get("content") or ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


def _tokens(messages: object, name: str = "tokens") -> list[Any]:
    found: list[Any] = []
    for message in messages if isinstance(messages, list) else ():
        # Only with this type; models of the Harmony format answer with messages that hold no ids.
        if isinstance(message, dict) and message.get("type") == "raw_message_tokens":
            found += message.get(name) or ()
    return found


def strip(body: Json, wants: Wants) -> Json:
    """Take out, in place, what the client did not ask for."""
    whole = body.get("response") if "response" in body else body
    if not wants.token_ids and isinstance(whole, dict):
        for name in ("input_messages", "output_messages"):
            if name in whole:
                whole[name] = None
    if not wants.logprobs:
        for message in (whole.get("output_messages") or ()) if isinstance(whole, dict) else ():
            if isinstance(message, dict):
                message.pop("logprobs", None)
        if isinstance(body.get("logprobs"), list):
            body["logprobs"] = []
        if isinstance(whole, dict) and "top_logprobs" in whole:
            whole["top_logprobs"] = None
        for part in _parts(body):
            if "logprobs" in part:
                part["logprobs"] = None
    return body


def _parts(body: Mapping[str, Any]) -> Iterator[Json]:
    """Yield the content parts of an answer, of an item or of an event."""
    if isinstance(part := body.get("part"), dict):
        yield part
    for holder in (body.get("response"), body.get("item")):
        if isinstance(holder, dict):
            yield from _parts(holder)
    for name in ("output", "content"):
        for inner in body.get(name) or ():
            if isinstance(inner, dict):
                yield from _parts(inner) if name == "output" else (inner,)
