"""A scripted model server that plays one conversation with any framework, and takes what is exported meanwhile.

Asked a question with a tool at hand it calls the tool; shown the tool's result it answers. It speaks chat completions,
Responses, Anthropic's messages and Gemini, whole and streamed, and keeps what it was asked and said: the truth that a
recording is held against.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUESTION = "What is 17 times 23?"
TOOL = "multiply"
ARGUMENTS = {"a": 17, "b": 23}
RESULT = "391"
ANSWER = "The answer is 391."
MODEL = "scripted-1"
USAGE = (41, 7)
"""Tokens of each prompt and of each answer, as it counts them."""

TOKENS = list(range(USAGE[0])), list(range(USAGE[1]))
"""Their ids, which it tells where it is asked as vLLM is."""


@dataclass
class Turn:
    """One exchange as it was."""

    api: str
    asked: dict[str, Any]
    calls_tool: bool
    """It called the tool; else it answered."""
    streamed: bool
    failed: bool = False


@dataclass
class Truth:
    """What happened, and what was exported of it."""

    url: str = ""
    turns: list[Turn] = field(default_factory=list)
    exports: list[tuple[str, bytes]] = field(default_factory=list)
    failures: int = 0
    """How many of the next requests are answered 500."""

    refuses: bool = False
    """Every request is answered 400, which no client repeats."""


def tool_names(asked: dict[str, Any]) -> list[str]:
    """Return the names of the tools that a request of any API offers."""
    declared = [
        one
        for tool in asked.get("tools") or ()
        for one in tool.get("functionDeclarations") or tool.get("function_declarations") or [tool]
    ]
    return [(one.get("function") or one).get("name") or "" for one in declared]


def plan(asked: dict[str, Any]) -> tuple[str | None, Any]:
    """Return the tool to call with its arguments, or None and the text to answer with."""
    said = json.dumps(asked)
    tools = tool_names(asked)
    own = next((name for name in tools if name.endswith(TOOL)), None)
    if own is not None and RESULT not in said:
        return own, ARGUMENTS
    if "final_answer" in tools:
        return "final_answer", {"answer": ANSWER}
    if "[[ ## answer ## ]]" in said:
        return None, f"[[ ## answer ## ]]\n{ANSWER}\n\n[[ ## completed ## ]]"
    return None, ANSWER


def answer(path: str, asked: dict[str, Any], number: int) -> dict[str, Any]:
    """Return what the API of a path answers in one piece."""
    name, said = plan(asked)
    arguments = json.dumps(said) if name else ""
    call_id = f"call_{number}"
    prompt, completion = USAGE
    if path.endswith("/messages"):
        block = (
            {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": said}
            if name
            else {"type": "text", "text": said}
        )
        return {
            "id": f"msg_{number}", "type": "message", "role": "assistant", "model": MODEL, "content": [block],
            "stop_reason": "tool_use" if name else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": completion},
        }  # fmt: skip
    if path.endswith("/responses"):
        item = (
            {"type": "function_call", "id": f"fc_{number}", "call_id": call_id, "name": name, "arguments": arguments,
             "status": "completed"}
            if name
            else {"type": "message", "id": f"item_{number}", "role": "assistant", "status": "completed",
                  "content": [{"type": "output_text", "text": said, "annotations": []}]}
        )  # fmt: skip
        evidence: dict[str, Any] = {}
        if asked.get("enable_response_messages"):
            raw = {"type": "raw_message_tokens"}
            said_tokens = {**raw, "tokens": TOKENS[1], "logprobs": [-0.5] * completion}
            evidence = {"input_messages": [{**raw, "tokens": TOKENS[0]}], "output_messages": [said_tokens]}
        return evidence | {
            "id": f"resp_{number}", "object": "response", "created_at": 1, "status": "completed", "model": MODEL,
            "output": [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": asked.get("tools") or [],
            "error": None, "incomplete_details": None, "instructions": asked.get("instructions"), "metadata": {},
            "temperature": 1.0, "top_p": 1.0, "text": {"format": {"type": "text"}},
            "usage": {
                "input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
            },
        }  # fmt: skip
    if "enerateContent" in path:
        part = {"functionCall": {"name": name, "args": said}} if name else {"text": said}
        return {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "modelVersion": MODEL, "responseId": f"gem_{number}",
            "usageMetadata": {
                "promptTokenCount": prompt, "candidatesTokenCount": completion, "totalTokenCount": prompt + completion,
            },
        }  # fmt: skip
    message: dict[str, Any] = {"role": "assistant", "content": None if name else said}
    if name:
        function = {"name": name, "arguments": arguments}
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "tool_calls" if name else "stop"}
    evidence = {}
    if asked.get("return_token_ids"):
        evidence = {"prompt_token_ids": TOKENS[0]}
        choice["token_ids"] = TOKENS[1]
        choice["logprobs"] = {
            "content": [{"token": "x", "logprob": -0.5, "bytes": [], "top_logprobs": []}] * completion
        }
    return evidence | {
        "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }  # fmt: skip


def stream(path: str, whole: dict[str, Any], asked: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Yield an answer in pieces, as its API streams; None is the end that OpenAI writes in words."""
    if path.endswith("/messages"):
        yield {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}}
        block: dict[str, Any] = whole["content"][0]
        is_text = block["type"] == "text"
        yield {
            "type": "content_block_start",
            "index": 0,
            "content_block": {**block, "text": ""} if is_text else {**block, "input": {}},
        }
        piece = (
            {"type": "text_delta", "text": block["text"]}
            if is_text
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        yield {"type": "content_block_delta", "index": 0, "delta": piece}
        yield {"type": "content_block_stop", "index": 0}
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": USAGE[1]},
        }
        yield {"type": "message_stop"}
    elif path.endswith("/responses"):
        item = whole["output"][0]
        begun = whole | {"status": "in_progress", "output": [], "usage": None}
        events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
        empty: dict[str, Any] = {
            **item,
            "status": "in_progress",
            **({"arguments": ""} if "arguments" in item else {"content": []}),
        }
        place = {"output_index": 0, "item_id": item["id"]}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": empty})
        if "arguments" in item:
            events.append({"type": "response.function_call_arguments.delta", "delta": item["arguments"], **place})
            events.append({"type": "response.function_call_arguments.done", "arguments": item["arguments"], **place})
        else:
            part = item["content"][0]
            at = {**place, "content_index": 0}
            events.append({"type": "response.content_part.added", "part": part | {"text": ""}, **at})
            events.append({"type": "response.output_text.delta", "delta": part["text"], "logprobs": [], **at})
            events.append({"type": "response.output_text.done", "text": part["text"], "logprobs": [], **at})
            events.append({"type": "response.content_part.done", "part": part, **at})
        events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
        events.append({"type": "response.completed", "response": whole})
        yield from (event | {"sequence_number": number} for number, event in enumerate(events))
    elif "enerateContent" in path:
        yield whole
    else:
        head = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
        choice = whole["choices"][0]
        message = choice["message"]
        prompt = {"prompt_token_ids": whole["prompt_token_ids"]} if "prompt_token_ids" in whole else {}
        begun = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        yield {**head, **prompt, "choices": [begun]}
        if "tool_calls" in message:
            delta: dict[str, Any] = {"tool_calls": [{"index": 0, **message["tool_calls"][0]}]}
        else:
            delta = {"content": message["content"]}
        tokens = {name: choice[name] for name in ("token_ids", "logprobs") if name in choice}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **tokens}]}
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": whole["usage"]}
        yield None


@contextmanager
def scripted() -> Iterator[Truth]:
    """Run the server on a free loopback port until the block ends."""
    truth = Truth()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._reply(200, b'{"object": "list", "data": [{"id": "scripted-1", "object": "model"}]}')

        def do_POST(self) -> None:
            body = self._body()
            path = self.path.partition("?")[0]
            if path in {"/v1/traces", "/v1/logs", "/v1/metrics"}:
                truth.exports.append((path, body))
                self._reply(200, b"", "application/x-protobuf")
                return
            asked = json.loads(body)
            with lock:
                if truth.failures or truth.refuses:
                    truth.failures -= not truth.refuses
                    truth.turns.append(Turn(path, asked, False, False, failed=True))
                    status, kind = (400, "invalid_request_error") if truth.refuses else (500, "server_error")
                    said = {"error": {"message": "scripted failure", "type": kind}}
                    self._reply(status, json.dumps(said).encode())
                    return
                is_streamed = bool(asked.get("stream")) or "streamGenerateContent" in path
                name, _ = plan(asked)
                truth.turns.append(Turn(path, asked, (name or "").endswith(TOOL), is_streamed))
                number = len(truth.turns)
            whole = answer(path, asked, number)
            if not is_streamed:
                self._reply(200, json.dumps(whole).encode())
                return
            pieces = [
                b"data: [DONE]\n\n"
                if event is None
                else (f"event: {event['type']}\n" if "type" in event else "").encode()
                + f"data: {json.dumps(event)}\n\n".encode()
                for event in stream(path, whole, asked)
            ]
            self._reply(200, b"".join(pieces), "text/event-stream")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                body = b"".join(parts)
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    truth.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield truth
    finally:
        server.shutdown()
        server.server_close()
