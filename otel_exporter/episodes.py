"""Says on OpenTelemetry's spans what they belong to: an attempt at a task, and what is known of it."""

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import trace

from otel_exporter.schema import EPISODE_ID, SPLIT, TASK_ID

F = TypeVar("F", bound=Callable[..., Any])
CONVERSATION = "gen_ai.conversation.id"


class episode:  # noqa: N801 - reads as a verb where it is used, as in the tracker
    """One attempt at one task: `with episode("ticket-4711", task="refund"):`, `async with`, or a decorator.

    A span around what happens inside, by the provider that is set up. Everything is optional: `task` groups attempts
    at the same task, `conversation` joins the episodes of one user's history, `split="heldout"` keeps it out of
    training; further values become attributes. The block gets the span.
    """

    def __init__(
        self,
        id: "str | None" = None,  # noqa: A002 - what everybody calls it
        *,
        task: "str | None" = None,
        conversation: "str | None" = None,
        split: "str | None" = None,
        **values: Any,  # noqa: ANN401
    ) -> None:
        named = {EPISODE_ID: id, TASK_ID: task, CONVERSATION: conversation, SPLIT: split}
        self._values = {**values, **{name: value for name, value in named.items() if value is not None}}
        self._entered: list[Any] = []

    def __enter__(self) -> trace.Span:
        tracer = trace.get_tracer("otel_exporter")
        block = tracer.start_as_current_span("episode", attributes=self._values)
        span = block.__enter__()
        self._entered.append(block)
        return span

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", where: "TracebackType | None"
    ) -> None:
        self._entered.pop().__exit__(kind, error, where)

    async def __aenter__(self) -> trace.Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", where: "TracebackType | None"
    ) -> None:
        self.__exit__(kind, error, where)

    def __call__(self, function: F) -> F:
        """Make every call of a function, sync or async, an episode of its own."""

        def again() -> "episode":
            fresh = episode()
            fresh._values = dict(self._values)
            return fresh

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                with again():
                    return await function(*args, **kwargs)

            return asynchronous  # type: ignore[return-value]

        @functools.wraps(function)
        def synchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with again():
                return function(*args, **kwargs)

        return synchronous  # type: ignore[return-value]


def annotate(**values: Any) -> bool:  # noqa: ANN401
    """Add attributes to the current span; tell whether one is being recorded."""
    span = trace.get_current_span()
    if not span.is_recording():
        return False
    span.set_attributes(values)
    return True
