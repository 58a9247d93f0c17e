"""What has things inside: a block, `with` or `async with`, or a decorator of functions. Knows no OpenTelemetry."""

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from otel_exporter.schema import EPISODE_ID, SPLIT, TASK_ID

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E")
"""What entering one gives."""

CONVERSATION = "gen_ai.conversation.id"


class Block(Generic[E]):
    """Something with a name and values that takes time: a context manager, async too, and a decorator of functions."""

    def __init__(self, name: str, values: "dict[str, Any] | None" = None) -> None:
        self.name = name
        self.values = dict(values or {})

    def again(self) -> "Block[E]":
        """Return one for a single call of a decorated function."""
        return type(self)(self.name, self.values)

    def __enter__(self) -> E:
        raise NotImplementedError

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> E:
        return self.__enter__()

    async def __aexit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """Make every call of a function, sync or async, a block of its own."""
        import inspect  # an agent that decorates nothing does without

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                with self.again():
                    return await function(*args, **kwargs)

            return asynchronous  # type: ignore[return-value]

        @functools.wraps(function)
        def synchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with self.again():
                return function(*args, **kwargs)

        return synchronous  # type: ignore[return-value]


class Attempt(Block[E]):
    """One attempt at one task: `with episode("ticket-4711", task="refund"):`, `async with`, or a decorator.

    Everything is optional: `task` groups attempts at the same task, `conversation` joins the episodes of one user's
    history, `split="heldout"` keeps it out of training; further values become attributes of the root span.
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
        super().__init__("episode", {**values, **{name: value for name, value in named.items() if value is not None}})

    def again(self) -> "Attempt[E]":
        """Return the same attempt, for a single call of a decorated function."""
        another = type(self)()
        another.values = dict(self.values)
        return another
