"""`/sql`: one SELECT over everything, as a table and a chart; and any statement's rows as a file."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

from foundation.errors import SpanloopError
from spanloop.page import charts
from spanloop.page.questions import Answer, Form, Question
from spanloop.page.visit import NotThere, Visit

SHOWN_ROWS = 500
"""Rows of an answer that are shown; the files hold all of them."""

CHART_ROWS = 200
MAX_SQL = 20_000
"""Longest statement that is taken from an address, characters."""

TYPES: dict[str, tuple[Form, str]] = {
    "csv": ("csv", "text/csv; charset=utf-8"),
    "parquet": ("parquet", "application/vnd.apache.parquet"),
    "json": ("json", "application/json"),
}

BEGINNING = """select trace_id, root_name, service_name, start_time, duration_s, num_spans, num_errors
from traces
order by start_time desc
limit 20"""


async def show(visit: Visit) -> web.StreamResponse:
    """Show the editor, and what the statement of the address answers."""
    sql = visit.argument("q", most=MAX_SQL).replace("\r\n", "\n")
    answer = await visit.ask(sql) if sql.strip() else None
    return visit.render(
        "sql.html",
        title="SQL",
        sql=sql or BEGINNING,
        answer=answer,
        most=SHOWN_ROWS,
        chart=chart_of(answer) if answer else "",
        saved=saved_queries(),
    )


async def download(visit: Visit) -> web.StreamResponse:
    """Send the rows of a statement as a file."""
    form = visit.request.match_info["form"]
    if form not in TYPES:
        raise NotThere(f"There is no form {form[:40]}: csv, parquet or json.")
    kind, content_type = TYPES[form]
    question = Question(visit.argument("q", most=MAX_SQL))
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", visit.argument("name", "rows"))[:60] or "rows"
    headers = {"Content-Type": content_type, "Content-Disposition": f'attachment; filename="{name}.{form}"'}
    response = web.StreamResponse(headers=headers)
    try:
        async for piece in visit.questions.stream(visit.visitor, question, kind):
            if not response.prepared:
                await response.prepare(visit.request)
            await response.write(piece)
    except SpanloopError:
        if not response.prepared:
            raise
        if visit.request.transport is not None:  # a file without its end must not pass for a whole one
            visit.request.transport.abort()
        return response
    if not response.prepared:
        await response.prepare(visit.request)
    await response.write_eof()
    return response


def chart_of(answer: Answer) -> Any:  # noqa: ANN401 - markup
    """Draw the first column of numbers over the first column; empty where that says nothing."""
    rows, columns = answer.rows[:CHART_ROWS], answer.columns
    if len(rows) < 2 or len(columns) < 2:
        return ""
    measure = next((name for name in columns[1:] if all(_is_number(row[name]) for row in rows)), None)
    if measure is None:
        return ""
    return charts.bars([(str(row[columns[0]])[:60], row[measure] or 0) for row in rows], title=measure, width=640)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


@cache
def saved_queries() -> list[tuple[str, str]]:
    """Return title and text of the queries to begin from."""
    text = (Path(__file__).parents[1] / "queries.sql").read_text()
    parts = re.split(r"^-- (.+)$", text, flags=re.MULTILINE)[1:]
    return [(title, body.strip()) for title, body in zip(parts[::2], parts[1::2], strict=True)]
