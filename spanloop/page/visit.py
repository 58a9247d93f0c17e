"""One request as a page sees it: who asks, what stands in the address, and how to ask and answer."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from aiohttp import web
from jinja2 import Environment

from foundation.errors import SpanloopError
from foundation.web.keys import Scope
from spanloop.page.entrance import Visitor
from spanloop.page.questions import Answer, Question, Questions

MAX_ARGUMENT = 500
"""Longest value of an address that is taken, characters."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class NotThere(Exception):
    """There is nothing by that name that the visitor may see."""


@dataclass
class Visit:
    """One request."""

    request: web.Request
    visitor: Visitor
    data: Path
    questions: Questions
    templates: Environment
    needs_key: bool

    def argument(self, name: str, default: str = "", *, most: int = MAX_ARGUMENT) -> str:
        """Return a value of the address, as text that can be stored and sent; cut where it is endless."""
        return clean(self.request.query.get(name, default))[:most]

    def whole(self, name: str, default: int, *, least: int = 0, most: int = 1 << 62) -> int:
        """Return a whole number of the address; the default where it is none, the nearest bound where it is beyond."""
        text = self.argument(name)
        try:
            return min(max(int(text), least), most) if text else default
        except ValueError:
            return default

    def real(self, name: str) -> float | None:
        """Return a number of the address, None where it is none."""
        try:
            value = float(self.argument(name))
        except ValueError:
            return None
        return value if abs(value) < 1e300 else None

    def chosen(self, name: str, among: Sequence[str], default: str = "") -> str:
        """Return a value of the address that is one of several, else the default."""
        value = self.argument(name)
        return value if value in tuple(among) else default

    async def ask(self, sql: str, *parameters: Any) -> Answer:  # noqa: ANN401 - values for question marks
        """Ask one question."""
        return await self.questions.ask(self.visitor, Question(sql, parameters))

    async def ask_all(self, *questions: Question) -> list[Answer]:
        """Ask several at once."""
        return await self.questions.ask_all(self.visitor, *questions)

    def render(self, template: str, *, status: int = 200, **values: Any) -> web.Response:  # noqa: ANN401
        """Return a page made from a template."""
        text = self.templates.get_template(template).render(
            visitor=self.visitor,
            needs_key=self.needs_key,
            path=self.request.path,
            query=dict(self.request.query),
            said=self.argument("said"),
            data=str(self.data),
            can_reward=self.visitor.may(Scope.REWARD),
            **values,
        )
        return web.Response(
            body=text.encode("utf-8", "replace"), status=status, content_type="text/html", charset="utf-8"
        )

    async def read(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run what reads files, beside everything else."""
        return await asyncio.to_thread(function, *args, **kwargs)


def clean(text: str) -> str:
    """Return a text without what no database takes: halves of characters, and the character zero."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def problem_of(error: SpanloopError) -> Answer:
    """Return an error as an answer without rows, for pages that show one."""
    return Answer(Question(""), problem=error.message, hint=error.hint)


def see_other(address: str) -> web.Response:
    """Return what leads a browser on."""
    return web.Response(status=303, headers={"Location": address})
