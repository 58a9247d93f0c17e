"""An OpenAI-compatible endpoint whose answers are the gold ones, so that a run of the agent is a demonstration.

A model that cannot begin imitates such runs first: what it is taught has the form of what the agent will ask, tools and
all, because the agent asked.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind, Tracer

Message = dict[str, Any]
Reply = Callable[[list[Message]], Message]
"""Returns the assistant's next message in a conversation."""


class UnknownQuestion(LookupError):
    """A conversation the teacher has no answer to."""


@contextmanager
def serving(reply: Reply, tracer: Tracer | None = None) -> Iterator[str]:
    """Answer chat completions with a reply while a block runs; yields the base URL.

    With a tracer each exchange is recorded whole in the caller's trace, as a model server with tracing does: some
    instrumentations of agents leave out the tools a model was shown.
    """
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = json.loads(text)
            try:
                status, body = 200, completion(reply(asked["messages"]), asked["model"], number=next(numbers))
                if tracer is not None:
                    told = {"spanloop.request.body": text, "spanloop.response.body": json.dumps(body)}
                    context = propagate.extract({name.lower(): value for name, value in self.headers.items()})
                    tracer.start_span("chat", context, kind=SpanKind.SERVER, attributes=told).end()
            except (UnknownQuestion, KeyError, IndexError, ValueError) as error:
                status, body = 400, {"error": {"message": f"no answer to this: {error!r}", "type": "unknown_question"}}
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing of each request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def completion(message: Message, model: str, *, number: int) -> dict[str, Any]:
    """Return a whole answer around a message, by its number."""
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    return {
        "id": f"chatcmpl-gold-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def calling(name: str, arguments: dict[str, Any], *, number: int) -> Message:
    """Return the message that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"content": None, "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}]}


def after(prefix: str, messages: list[Message]) -> str:
    r"""Return the line of the user's message that begins so, without its beginning.

    >>> after("Question:", [{"role": "user", "content": "t(a)\nQuestion: How many?"}])
    'How many?'
    """
    for message in messages:
        if message["role"] == "user":
            text = message["content"] if isinstance(message["content"], str) else message["content"][0]["text"]
            for line in text.splitlines():
                if line.startswith(prefix):
                    return str(line.removeprefix(prefix).strip())
    raise UnknownQuestion(prefix)
