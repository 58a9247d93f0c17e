"""How a canary went is on record for whoever wants to see it move."""

import json
from pathlib import Path
from typing import Any

from serve.canary import verdict
from serve.canary.course import note
from serve.schema import course_path
from serve.settings import CanaryConfig
from spanloop.page import facts


def measured(low: float, high: float) -> dict[str, dict[str, Any]]:
    return {"reward": {"difference_low": low, "difference_high": high, "canary": 0.5, "live": 0.5}}


def test_each_look_is_a_line_and_a_canary_reads_its_own(tmp_path: Path) -> None:
    """One of the same version that was begun before is another; a bound that is not known yet is none."""
    first = verdict.begin(tmp_path, "v", CanaryConfig(), slow_s=None)
    second = first.model_copy(update={"started_time": "2026-01-01T00:00:00+00:00"})
    note(tmp_path, first, num_units=3, measured=measured(float("-inf"), float("inf")))
    for units, high in ((4, 0.5), (9, 0.2)):
        note(tmp_path, second, num_units=units, measured=measured(-0.1, high))

    found = facts.canary_course(tmp_path, "v", second.started_time)

    assert [(line["num_units"], line["metrics"]) for line in found] == [
        (4, {"reward": [-0.1, 0.5]}),
        (9, {"reward": [-0.1, 0.2]}),
    ]
    assert len(facts.canary_course(tmp_path, "v", first.started_time)) == 1
    assert course_path(tmp_path, "v").stat().st_mode & 0o077 == 0
    assert json.loads(course_path(tmp_path, "v").read_text().splitlines()[2])["share"] == second.share


def test_a_disk_that_takes_nothing_stops_no_canary(tmp_path: Path) -> None:
    """It is judged by what is in the store."""
    (tmp_path / "serve").write_text("no directory")

    note(tmp_path, verdict.begin(tmp_path, "v", CanaryConfig(), slow_s=None), num_units=1, measured=measured(0, 1))
