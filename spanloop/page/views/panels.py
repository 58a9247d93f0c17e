"""Pages that are a list of panels: a question each, what it answers as table, and a chart where one says more."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from markupsafe import Markup

from spanloop.page import charts
from spanloop.page.questions import Answer, Question, Row
from spanloop.page.render import address
from spanloop.page.visit import Visit

NO_VALUE = "(none)"
MOST_BINS = 100

Link = Callable[[Row], str]


@dataclass(frozen=True)
class Panel:
    """One question of a page."""

    title: str
    question: Question
    note: str = ""
    empty: str = "Nothing yet."
    command: str = ""
    """The next command where there is nothing."""

    draw: Callable[[Answer], Markup] | None = None
    links: dict[str, Link] = field(default_factory=dict)
    """By column, where its cells lead."""

    hidden: frozenset[str] = frozenset()
    """Columns that links need and nobody reads."""


@dataclass(frozen=True)
class Choice:
    """A filter in the address: its name, its label and what can be chosen."""

    name: str
    label: str
    options: tuple[str, ...] = ()


async def show_panels(
    visit: Visit, title: str, panels: list[Panel], *, choices: tuple[Choice, ...] = (), lead: str = ""
) -> web.Response:
    """Ask every panel's question and show the page."""
    answers = await visit.ask_all(*(panel.question for panel in panels))
    drawn = [
        panel.draw(answer) if panel.draw and answer.rows else "" for panel, answer in zip(panels, answers, strict=True)
    ]
    return visit.render(
        "panels.html",
        title=title,
        lead=lead,
        panels=list(zip(panels, answers, drawn, strict=True)),
        choices=choices,
        kept={choice.name: visit.argument(choice.name) for choice in choices},
        most=100,
    )


def trace_link(row: Row) -> str:
    """Return where a row's trace is shown."""
    return address(f"/traces/{row['trace_id']}", span=row.get("span_id"))


def by_day(column: str, title: str) -> Callable[[Answer], Markup]:
    """Return what draws a column over days; several lines where rows have a `series`. A day without it has no place."""

    def draw(answer: Answer) -> Markup:
        days = [row for row in answer.rows if row.get(column) is not None]
        series: dict[str, list[tuple[float, float]]] = {}
        for row in days:
            series.setdefault(str(row.get("series", title)), []).append((float(row["day_number"]), row[column]))
        ends = (str(days[0]["day"]), str(days[-1]["day"])) if days else None
        drawn = charts.lines(dict(list(series.items())[:6]), title=title, width=640, height=150, ends=ends)
        return drawn or charts.bars([(str(row["day"]), row[column]) for row in days], title=title)

    return draw


def bars_of(label: str, column: str, title: str) -> Callable[[Answer], Markup]:
    """Return what draws a column as one bar a row."""
    return lambda answer: charts.bars(
        [(str(row[label]), float(row[column] or 0.0)) for row in answer.rows[:60]], title=title, width=640, height=130
    )


def histogram_of(answer: Answer) -> Markup:
    """Draw rows of low, high and count, all as wide; bins between them that hold nothing keep their places."""
    rows = answer.rows
    least, width = rows[0]["low"], rows[0]["high"] - rows[0]["low"]
    if not width > 0:
        return charts.histogram([(least, least, rows[0]["count"])], title="Distribution", width=640)
    counts = {round((row["low"] - least) / width): row["count"] for row in rows}
    bins = [
        (least + place * width, least + (place + 1) * width, counts.get(place, 0))
        for place in range(min(max(counts) + 1, MOST_BINS))
    ]
    return charts.histogram(bins, title="Distribution", width=640)


def any_of(column: str, value: str) -> tuple[str, list[Any]]:
    """Return a condition that holds where a filter is empty or met; `(none)`, as tables write it, means no value."""
    if value == NO_VALUE:
        return f"{column} is null", []
    return (f"{column} = ?", [value]) if value else ("true", [])
