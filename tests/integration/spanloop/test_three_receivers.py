"""Nights over three receivers, and what looks at them and judges beside; of a night all but the ETL is of cardboard."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from etl.schema import read_watermark, table_files
from etl.tables import scan
from foundation.web import places
from receiver.intake.importing import import_files
from tests import nights
from tests.commands import spanloop
from tests.integration.receiver.processes import Receiver, running

pytestmark = pytest.mark.integration

RECORDED = sorted((Path(__file__).parents[2] / "fixtures" / "otlp" / "openinference-openai-agents").glob("*.pb"))


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[list[Receiver]]:
    """Return three receivers; each has every third recording but the last one."""
    with ExitStack() as stack:
        directories = [tmp_path / f"receiver-{number}" for number in range(3)]
        for number, directory in enumerate(directories):
            import_files(directory, RECORDED[:-1][number::3])
        yield [stack.enter_context(running(directory)) for directory in directories]


def night(data: Path, receivers: list[Receiver]) -> dict[str, Any]:
    """Run a night over receivers that the command line names; return its report."""
    named = [part for one in receivers for part in ("--receiver", one.http)]
    command = [sys.executable, "-m", "tests.nights", str(data), "", "nightly", *named, "--json"]
    made = subprocess.run(
        [*command, "--model", str(data.parent / "base")], capture_output=True, text=True, check=False, timeout=300
    )
    assert made.returncode == 0, made.stderr
    report: dict[str, Any] = json.loads(made.stdout)
    return report


def calls(data: Path) -> int:
    return int(scan("llm_calls", table_files(data, "llm_calls")).collect().height)


def test_a_night_learns_from_all_of_them(
    receivers: list[Receiver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they hold is published as one; the next night begins once any of them took something."""
    monkeypatch.setenv("SPANLOOP_ETL_RUN_COMPLETE_AFTER", "0")
    data, one = tmp_path / "loop", tmp_path / "one"
    nights.serve(data, tmp_path / "base")
    import_files(one, RECORDED[:-1])
    assert spanloop("etl", "run", "--data", one).returncode == 0

    first = night(data, receivers)

    assert calls(data) == calls(one) > len(receivers)
    watermark = read_watermark(data)
    assert watermark is not None
    assert [*watermark["receivers"]] == [each.http for each in receivers]
    assert (data / "live").read_text() == first["checkpoint"]
    assert night(data, receivers)["checkpoint"] is None, "nothing new"
    receivers[2].export(RECORDED[-1].read_bytes())
    assert night(data, receivers)["checkpoint"] not in {None, first["checkpoint"]}
    assert calls(data) > calls(one)


def test_the_doctor_looks_at_each_and_a_reward_counts_wherever_it_is(
    receivers: list[Receiver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span is followed to each; a trace of the last receiver is judged at the first."""
    monkeypatch.setenv(places.RECEIVER, " ".join(one.http for one in receivers))
    monkeypatch.setenv("SPANLOOP_ETL_RUN_COMPLETE_AFTER", "0")
    trace = receivers[2].sql("select trace_id from spans where parent_span_id is null limit 1")[0]["trace_id"]
    data = tmp_path / "loop"
    data.mkdir()

    looked = spanloop("doctor", "--data", data, "--follow", "--json")
    judged = spanloop("reward", trace, "0.5", "--data", data)
    made = spanloop("etl", "run", "--data", data)

    found = json.loads(looked.stdout)["findings"]
    verdicts = [one["verdict"] for one in found if one["check"] in {"receiver", "one span", "arrival"}]
    assert verdicts == ["ok"] * 9, found
    assert (judged.returncode, made.returncode) == (0, 0), judged.stderr + made.stderr
    assert receivers[0].sql("select count(*) as n from log_records") == [{"n": 1}]
    episodes = scan("episodes", table_files(data, "episodes")).collect()
    assert [outcome for outcome in episodes["outcome"] if outcome is not None] == [0.5]
