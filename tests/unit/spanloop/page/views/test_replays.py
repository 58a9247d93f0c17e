"""A replay's report as its page shows it, whatever stands in the file."""

import json
from pathlib import Path

import pytest

from spanloop.page.views.replays import SHOWN, show, sides, told
from tests.unit.spanloop.page.visiting import see


@pytest.mark.parametrize("odd", [None, 7, "text", [1], {"mean": "x", "low": None}])
def test_what_is_of_another_form_is_shown_as_nothing(odd: object) -> None:
    """A report of another release, or one that is damaged, hides none of the others."""
    names = ("arguments", "comparison", "gate", "states")

    for shown in (
        told(dict.fromkeys(names, odd)),
        told({"comparison": dict.fromkeys(("teacher", "ends", "difference"), odd)}),
    ):
        assert (shown["interval"], shown["asked"].get("margin")) == ("", None)
        assert [state for state in shown["states"] if not isinstance(state, dict)] == []
        assert len(shown["sides"]) == len(sides({}))


def test_both_sides_are_written_alike() -> None:
    """What was not measured of one is not known; a share is no fraction."""
    side = {"score": {"mean": 0.5, "low": 0.4, "high": 0.6}, "share_whole": 0.925, "cost": 0.002}

    rows = {name: (before, after) for name, before, after in sides({"teacher": side, "candidate": {}})}

    assert (rows["score"][0], rows["replayed to the end"][0], rows["cost of a state"][0]) == (
        "0.5 in [0.4, 0.6]", "92.5 %", "0.002"
    )  # fmt: skip
    assert len({after for _, after in rows.values()}) == 1


def test_a_difference_is_drawn_with_the_margin_it_was_judged_by() -> None:
    """Not without one."""
    comparison = {"difference": {"mean": -0.3, "low": -0.4, "high": -0.2}}

    assert "between -0.400 and -0.200" in told({"comparison": comparison, "arguments": {"margin": 0.1}})["interval"]
    assert told({"comparison": comparison})["interval"] == ""


def test_the_newest_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    """One that is damaged is of no known time, and last."""
    (tmp_path / "replays").mkdir()
    for number in range(SHOWN + 2):
        report = {"run_id": f"replay{number}", "started_time": f"2026-01-01T00:00:{number:02}"}
        (tmp_path / "replays" / f"replay{number}.json").write_text(json.dumps(report))
    (tmp_path / "replays" / "broken.json").write_text("{")

    text = see(show, "/replay", data=tmp_path).text

    assert [f"00:00:{number:02} UTC" in text for number in (SHOWN + 1, 2, 1, 0)] == [True, True, False, False]
    assert "3 older replays" in text
