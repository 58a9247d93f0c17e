"""A scripted model server: answers as the real APIs do, and takes OTLP/JSON on the same port. A fake, and says so.

Chat completions, completions, Responses and Anthropic's messages, whole or streamed, gzipped where it is told to.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TEXT = "Grüße aus 東京"
PIECES = ("Grü", "ße aus ", "東京")


class ModelServer:
    """What was asked, what was exported, and how to answer."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.exports: list[tuple[str, dict[str, Any]]] = []
        self.encoding = "identity"
        self.failures = 0
        """How many of the next requests are answered 500."""
        self.export_status = 200

    def spans(self) -> list[dict[str, Any]]:
        """Return the exported spans, attributes as a dictionary."""
        return [
            span | {"attributes": plain(span["attributes"])}
            for path, request in self.exports
            if path == "/v1/traces"
            for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]
        ]

    def logs(self) -> list[dict[str, Any]]:
        """Return the exported log records, attributes as a dictionary."""
        return [
            record | {"attributes": plain(record["attributes"])}
            for path, request in self.exports
            if path == "/v1/logs"
            for record in request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        ]


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return OTLP/JSON attributes as a dictionary."""
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}


def answer(path: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what an API answers in one piece."""
    if path.endswith("/messages"):
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "scripted-1", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": TEXT}],
            "usage": {"input_tokens": 5, "output_tokens": 7},
        }  # fmt: skip
    if path.endswith("/responses"):
        content = [{"type": "output_text", "text": TEXT, "annotations": []}]
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "scripted-1",
            "output": [{"type": "message", "id": "i1", "role": "assistant", "status": "completed", "content": content}],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": {
                "input_tokens": 5, "output_tokens": 7, "total_tokens": 12,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
            },
        }  # fmt: skip
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    if "prompt" in asked:
        choice: dict[str, Any] = {"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": None}
        return {
            "id": "cmpl_1",
            "object": "text_completion",
            "created": 1,
            "model": "scripted-1",
            "choices": [choice],
            "usage": usage,
        }
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return {
        "id": "chat_1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted-1",
        "choices": [choice],
        "usage": usage,
    }


def events(path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Yield the same answer as a stream; None is the end that OpenAI writes in words."""
    whole = answer(path, asked)
    if path.endswith("/messages"):
        yield {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}}
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for piece in PIECES:
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        yield {"type": "content_block_stop", "index": 0}
        yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
        yield {"type": "message_stop"}
    elif path.endswith("/responses"):
        yield {
            "type": "response.created",
            "sequence_number": 0,
            "response": whole | {"status": "in_progress", "output": []},
        }
        for place, piece in enumerate(PIECES):
            yield {
                "type": "response.output_text.delta", "sequence_number": 1 + place, "item_id": "i1", "output_index": 0,
                "content_index": 0, "delta": piece, "logprobs": [],
            }  # fmt: skip
        yield {"type": "response.completed", "sequence_number": 9, "response": whole}
    else:
        head = {key: whole[key] for key in ("id", "created", "model")}
        is_plain = "prompt" in asked
        head["object"] = whole["object"] if is_plain else "chat.completion.chunk"
        for piece in PIECES:
            said = {"text": piece} if is_plain else {"delta": {"role": "assistant", "content": piece}}
            yield {**head, "choices": [{"index": 0, "finish_reason": None, **said}]}
        last = {"text": ""} if is_plain else {"delta": {}}
        yield {**head, "choices": [{"index": 0, "finish_reason": "stop", **last}]}
        yield None


def as_event(event: dict[str, Any] | None) -> bytes:
    """Write a server-sent event."""
    if event is None:
        return b"data: [DONE]\n\n"
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Run one on a free loopback port until the block ends."""
    state = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path in ("/v1/traces", "/v1/logs"):
                if state.export_status == 200:
                    state.exports.append((self.path, json.loads(body)))
                return self.send(state.export_status, b"{}")
            asked = json.loads(body)
            state.asked.append({"path": self.path, "headers": dict(self.headers), "body": asked, "bytes": body})
            if state.failures:
                state.failures -= 1
                return self.send(500, b'{"error": {"message": "again"}}', **{"retry-after-ms": "1"})
            if asked.get("stream"):
                return self.stream(events(self.path, asked))
            return self.send(200, json.dumps(answer(self.path, asked), ensure_ascii=False).encode())

        def send(self, status: int, body: bytes, **headers: str) -> None:
            if state.encoding == "gzip":
                body = gzip.compress(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Encoding", state.encoding)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def stream(self, pieces: Iterator[dict[str, Any] | None]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Encoding", state.encoding)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            whole = [as_event(piece) for piece in pieces]
            if state.encoding == "gzip":
                whole = [gzip.compress(b"".join(whole))]
            for piece in [*whole, b""]:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
