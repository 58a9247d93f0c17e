"""Records an agent's model calls, tools and rewards where there is no OpenTelemetry. Standard library only.

    from otel_exporter import tracker

    client = tracker.track(OpenAI())  # or Anthropic(), genai.Client(), httpx.Client(): the same object comes back

    @tracker.tool
    def search(query: str) -> str: ...

    with tracker.episode(task="ticket 4711"):
        answer = run_agent(client)
        tracker.reward(grade(answer))

Everything is posted by OTLP/JSON from a thread in the background to SPANLOOP_EXPORTER_OTLP_ENDPOINT; nothing here
raises into the agent, blocks it, or outlives it. Beside OpenTelemetry's instrumentations it joins their trace.
"""

import functools
import json
import logging
import math
import os
import time
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar, overload

from otel_exporter import schema
from otel_exporter.blocks import CONVERSATION, Attempt
from otel_exporter.sending.sender import Record, attributes
from otel_exporter.tracking import outbox
from otel_exporter.tracking.spans import current, place, span, span_record
from otel_exporter.tracking.streams import is_finished
from otel_exporter.tracking.transport import Exchange, looks_like_a_call, wrap

if TYPE_CHECKING:
    import inspect

log = logging.getLogger("otel_exporter.tracker")

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")

__all__ = ["agent", "annotate", "episode", "flush", "reward", "span", "tool", "track"]


def track(client: C) -> C:
    """Record the model calls of a client from now on; return the same client.

    It may be any object that sends through httpx or httpx2, in whatever attribute: clients of OpenAI, Anthropic and
    Google, sync and async, and httpx clients themselves. A second call changes nothing. One that has no such client
    inside is returned as it is, with a warning.
    """
    try:
        if not wrap(client, _begin):
            log.warning("no calls of %s are recorded: it has no httpx client inside", type(client).__name__)
    except Exception as error:  # noqa: BLE001 - the agent goes on without us
        log.warning("no calls of %s are recorded: %s", type(client).__name__, type(error).__name__)
    return client


class episode(Attempt[span], span):  # noqa: N801
    """One attempt at one task, as `Attempt` says: the root span of what happens inside."""


def agent(name: str) -> span:
    """Return a span of an agent (role) of this name: a context manager, or a decorator of the function that runs it."""
    return span(f"invoke_agent {name}", {"gen_ai.operation.name": "invoke_agent", schema.AGENT_NAME: name})


@overload
def tool(function: F) -> F: ...


@overload
def tool(*, name: "str | None" = None) -> "Callable[[F], F]": ...


def tool(function: "F | None" = None, *, name: "str | None" = None) -> "F | Callable[[F], F]":
    """Record each execution of a tool, sync or async: its arguments, its result or its error. A decorator."""
    if function is None:
        return functools.partial(tool, name=name)
    import inspect  # an agent without tools does without

    named = name or getattr(function, "__name__", "tool")
    signature = _signature(function)

    def begin(args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> span:
        values = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": named}
        values["gen_ai.tool.call.arguments"] = _json(_arguments(signature, args, kwargs))
        return span(f"execute_tool {named}", values)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with begin(args, kwargs) as execution:
                result = await function(*args, **kwargs)
                execution.values["gen_ai.tool.call.result"] = _json(result)
                return result

        return asynchronous  # type: ignore[return-value]

    @functools.wraps(function)
    def synchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with begin(args, kwargs) as execution:
            result = function(*args, **kwargs)
            execution.values["gen_ai.tool.call.result"] = _json(result)
            return result

    return synchronous


def annotate(**values: Any) -> bool:  # noqa: ANN401
    """Add attributes to the span around this line; tell whether there is one."""
    around = current.get()
    if around is None:
        return False
    around.values.update(values)
    return True


def reward(
    value: float,
    name: str = schema.OUTCOME,
    *,
    label: "str | None" = None,
    explanation: "str | None" = None,
    trace_id: "str | None" = None,
    span_id: "str | None" = None,
    response_id: "str | None" = None,
    episode_id: "str | None" = None,
    session_id: "str | None" = None,
) -> bool:
    """Say how it went; tell whether that is recorded. Never raises.

    Without an id it is about the span around this line. With one it may be given at any time, from any process: the
    trace, the span in it, the response's id as the model's API returned it, the episode's or the session's. It must be
    a finite number.
    """
    score = _finite(value)
    if score is None:
        log.warning("reward %r is not recorded: it is not a finite number (%s)", name, type(value).__name__)
        return False
    said = {
        schema.EVALUATION_NAME: name, schema.EVALUATION_SCORE: score, schema.EVALUATION_LABEL: label,
        schema.EVALUATION_EXPLANATION: explanation,
    }  # fmt: skip
    now = time.time_ns()
    ids = {
        "gen_ai.response.id": response_id, schema.EPISODE_ID: episode_id, CONVERSATION: session_id,
    }  # fmt: skip
    if trace_id is None and not any(ids.values()):
        around = current.get()
        if around is None:
            log.warning("reward %r is not recorded: there is no episode around it, and it names nothing", name)
            return False
        around.events.append((now, said))
        return True

    def make() -> Record:
        [passed] = outbox.passed(said)
        record: Record = {
            "timeUnixNano": str(now), "eventName": schema.EVALUATION_EVENT, "attributes": attributes({**passed, **ids}),
        }  # fmt: skip
        return record | {name: one for name, one in (("traceId", trace_id), ("spanId", span_id)) if one is not None}

    outbox.sender().put("logs", 500, make)
    return True


def flush(timeout_s: float = 5.0) -> bool:
    """Send what is recorded now; tell whether all of it left within the time. A program that just ends need not ask."""
    return outbox.sender().flush(timeout_s)


def _begin(request: Any) -> "Exchange | None":  # noqa: ANN401
    """Begin to record a request, where it asks a model, and give it its span's ids to carry (W3C trace context)."""
    try:
        if not looks_like_a_call(request):
            return None
        trace_id, parent_id, inherited = place()
        span_id = os.urandom(8).hex()
        if "traceparent" not in request.headers:
            request.headers["traceparent"] = f"00-{trace_id}-{span_id}-01"

        def finish(exchange: Exchange) -> None:
            size = len(exchange.request_body) + exchange.size_bytes + 1000
            make = functools.partial(_call_record, exchange, trace_id, span_id, parent_id, inherited)
            outbox.sender().put("traces", size, make)

        return Exchange(request, {}, finish)
    except Exception:  # noqa: BLE001 - the agent's call goes on without us
        return None


def _call_record(
    exchange: Exchange, trace_id: str, span_id: str, parent_id: "str | None", inherited: "dict[str, Any]"
) -> "Record | None":
    asked = exchange.question()
    if asked is None:
        return None
    answer = exchange.answer()
    model = asked.get("model")
    values: dict[str, Any] = {
        **inherited,
        "gen_ai.request.model": model if isinstance(model, str) else None,
        "server.address": exchange.url.host,
        "server.port": exchange.url.port,
        "url.path": exchange.url.path,
        "http.response.status_code": exchange.status,
        schema.REQUEST_BODY: exchange.request_body.decode("utf-8", "replace"),
        schema.RESPONSE_BODY: None if answer is None else _json(answer),
    }
    if not exchange.is_whole and not (answer and is_finished(answer)):
        values[schema.RESPONSE_PARTIAL] = True
    error = exchange.error or (str(exchange.status) if (exchange.status or 0) >= 400 else None)
    name = f"chat {model}" if isinstance(model, str) else "chat"
    return span_record(
        trace_id, span_id, parent_id, name, 3, exchange.start_ns, exchange.end_ns, values, error, []
    )  # fmt: skip


def _signature(function: Callable[..., Any]) -> "inspect.Signature | None":
    import inspect

    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _arguments(
    signature: "inspect.Signature | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "dict[str, Any]":
    """Return arguments by name, as the model gives them."""
    try:
        bound = dict(signature.bind(*args, **kwargs).arguments) if signature else {"args": args, **kwargs}
    except TypeError:  # the call itself will raise it
        return {"args": args, **kwargs}
    return {name: value for name, value in bound.items() if name not in {"self", "cls"}}


def _json(value: Any) -> str:  # noqa: ANN401
    """Return a value as JSON; a text as it is."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _finite(value: object) -> "float | None":
    try:
        score = float(value) if isinstance(value, Real) else math.nan
    except (OverflowError, ValueError, TypeError):
        return None
    return score if math.isfinite(score) else None
