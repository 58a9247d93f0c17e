"""Pages of panels: each question stands for itself."""

from typing import Any

from spanloop.page.questions import Answer, Question
from spanloop.page.views.panels import Choice, Panel, any_of, bars_of, by_day, histogram_of, show_panels, trace_link
from spanloop.page.visit import Visit
from tests.unit.spanloop.page.visiting import Tables, see


def answer(*rows: dict[str, Any]) -> Answer:
    return Answer(Question(""), list(rows))


def test_a_panel_that_fails_hides_no_other() -> None:
    """Its problem stands in its place, and one without rows says what comes next."""
    panels = [
        Panel("Broken", Question("select * from none_such"), draw=histogram_of),
        Panel("Empty", Question("select 1 where false"), empty="Nothing was read.", command="spanloop etl run"),
        Panel("Whole", Question("select 'yes' as found, 7 as secret"), hidden=frozenset({"secret"})),
    ]

    async def show(visit: Visit) -> Any:
        return await show_panels(visit, "Title", panels, choices=(Choice("agent", "Agent"),))

    text = see(show, "/page?agent=%3Cb%3E", tables=Tables()).text

    assert all(part in text for part in ("none_such", "Nothing was read.", "spanloop etl run", "yes"))
    assert "secret</th>" not in text
    assert "<b>" not in text


def test_days_are_a_line_and_one_day_is_a_bar() -> None:
    """Of each series one, and days without a value none."""
    days = [
        {"day": f"d{number}", "day_number": number, "x": float(number), "series": number % 2} for number in range(4)
    ]
    draw = by_day("x", "Title")

    assert draw(answer(*days)).count("<polyline") == 2
    assert draw(answer(*[{**day, "series": 0} for day in days])).count("<polyline") == 1
    one = draw(answer(days[1], {**days[2], "x": None}))
    assert ("<polyline" in one, one.count("<rect")) == (False, 1), "a day without a value is no day of zero"
    assert ">d0</text>" in draw(answer(*days)), "days stand below the line by their names"
    assert draw(answer({**days[0], "x": None})) == ""


def test_bins_that_hold_nothing_keep_their_places() -> None:
    """Else what lies far apart seems to lie side by side."""
    bins = [{"low": low, "high": low + 0.25, "count": 3} for low in (0.0, 0.75)]

    assert histogram_of(answer(*bins)).count("<rect") == 4
    assert histogram_of(answer({"low": 1.0, "high": 1.0, "count": 3})).count("<rect") == 1


def test_numbers_are_written_as_what_their_columns_say() -> None:
    """A share as a percentage, a time in its unit; a column of nothing stands with the numbers."""
    panel = Panel("p", Question("select 0.5::double as share_failed, 0.002::double as time_lost_s, null as outcome"))

    async def show(visit: Visit) -> Any:
        return await show_panels(visit, "Title", [panel])

    text = see(show, "/page", tables=Tables()).text
    assert all(part in text for part in (">50 %<", ">2.0 ms<", "time lost</th>", '<th scope="col" class="num">outcome'))


def test_a_value_that_is_nothing_is_a_bar_of_nothing() -> None:
    """It keeps its place."""
    assert (
        bars_of("tool", "failed", "t")(answer({"tool": "a", "failed": None}, {"tool": "b", "failed": 2})).count("<rect")
        == 2
    )


def test_a_link_to_a_trace_names_the_span_where_one_is_known() -> None:
    """And is an address whatever the ids are."""
    assert trace_link({"trace_id": "t", "span_id": "a b"}) == "/traces/t?span=a+b"
    assert trace_link({"trace_id": "t"}) == "/traces/t"


def test_an_empty_filter_holds_for_everything() -> None:
    """Values go beside the statement."""
    assert any_of("agent", "") == ("true", [])
    assert any_of("agent", "x'") == ("agent = ?", ["x'"])
    assert any_of("agent", "(none)") == ("agent is null", []), "as tables write it and their links say"
