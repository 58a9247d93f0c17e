"""The editor: what can be drawn of an answer, and files that are whole or none."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from foundation.errors import SettingsError, SpanloopError
from spanloop.page.questions import Answer, Question
from spanloop.page.views.sql import chart_of, download, show
from spanloop.page.visit import NotThere
from tests.unit.spanloop.page.visiting import ADMIN, Tables, opened, see

DOWNLOAD = "/download/{form}"


def rows(*values: object) -> Answer:
    return Answer(Question(""), [{"name": str(number), "n": value} for number, value in enumerate(values)])


@pytest.mark.parametrize(
    ("values", "num_bars"), [((1, 2.5), 2), ((1, None), 2), ((1,), 0), ((True, False), 0), (("1", 2), 0), ((), 0)]
)
def test_numbers_over_names_are_drawn(values: tuple[object, ...], num_bars: int) -> None:
    """Two of them at least; what is unknown is a bar of nothing."""
    assert str(chart_of(rows(*values))).count("<rect") == num_bars


def test_a_file_is_named_by_what_a_file_can_be_named() -> None:
    """Whatever stands in the address; a form that is none is not there."""
    seen = see(download, "/download/csv?q=select+1+as+n&name=a/..%22%0Ab", route=DOWNLOAD)

    assert seen.body == b'"n"\n1\n'
    assert seen.headers["Content-Disposition"] == 'attachment; filename="a-b.csv"'
    with pytest.raises(NotThere, match="csv, parquet or json"):
        see(download, "/download/exe?q=select+1", route=DOWNLOAD)


def test_a_statement_that_fails_is_no_file() -> None:
    """Nor a page without its reason."""
    with pytest.raises(SettingsError, match="none_such"):
        see(download, "/download/csv?q=select+*+from+none_such", route=DOWNLOAD)

    assert "none_such" in see(show, "/sql?q=select+*+from+none_such").text


def test_a_file_without_its_end_does_not_pass_for_a_whole_one() -> None:
    """The receiver went away in the middle."""

    class Broken(Tables):
        async def stream(self, *_: Any) -> AsyncIterator[bytes]:
            yield b'"n"\n1\n'
            raise SpanloopError("gone")

    async def go() -> None:
        client = await opened(download, DOWNLOAD, tables=Broken(), data=Path("/nowhere"), visitor=ADMIN)
        try:
            async with client.get("/download/csv?q=x") as response:
                await response.read()
        finally:
            await client.close()

    with pytest.raises(ClientError):
        asyncio.run(go())
