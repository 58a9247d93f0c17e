"""What takes a whole run comes out the same however the run was divided."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.exports.export import read_table
from etl.runs.run import run_etl
from etl.settings import EtlConfig
from foundation.report import RunReport
from tests.integration.etl.test_windows import Store
from tests.spans import START_NS, Span, evaluation, llm, span, tool

pytestmark = pytest.mark.integration

PROGRESS = 0.5


def attempt(number: int, outcome: float) -> list[Span]:
    """Return an episode of three calls, of which the second was rejected; in a bad one a tool fails early."""
    name = f"e{number}"
    common: dict[str, Any] = {"trace": name, "parent": f"{name} root", "seq": number + 1}
    asked = [("user", f"question {number} " * (number % 3 + 1))]
    return [
        span(f"{name} root", trace=name, end=9, seq=number + 1, events=[evaluation(outcome)]),
        llm(f"{name} 1", start=1, end=2, asked=asked, calls=[(name, "look", {})], **common),
        llm(f"{name} 2", start=2.2, end=2.5, said=None, status="error", **common),
        tool(f"{name} t", tool_name="look", call_id=name, start=3, status="ok" if outcome else "error", **common),
        llm(f"{name} 3", start=5, end=6, asked=[*asked, ("user", "and?")], **common),
    ]


@pytest.fixture
def transitions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., pl.DataFrame]:
    """Run the ETL over forty attempts, in buckets of so many spans, and return the transitions."""
    store = Store()
    monkeypatch.setattr("etl.runs.run.open_receivers", lambda _: store)
    store.spans = [one for number in range(40) for one in attempt(number, number % 4 / 4 if number % 2 else 0.0)]

    def run(bucket_spans: int, **settings: Any) -> pl.DataFrame:
        config = EtlConfig(data=tmp_path / str(bucket_spans), complete_after=0, bucket_spans=bucket_spans, **settings)
        run_etl(config, RunReport("etl run", {}), dry_run=False, now_us=lambda: START_NS // 1000)
        return read_table(config.data, "transitions").sort("episode_id", "step")

    return run


@pytest.mark.long
def test_progress_and_the_gap_are_those_of_the_run(transitions: Callable[..., pl.DataFrame]) -> None:
    """In one bucket and in twenty; progress telescopes over what was not rejected, outside the bound."""
    settings = {"progress": PROGRESS, "discount": 0.9, "tool_error": -1.0}
    whole, divided = transitions(10_000, **settings), transitions(10, **settings)

    assert_frame_equal(whole, divided)
    assert set(whole["air_scale"]) == {1.0, 0.49 * 0.25}
    assert whole.height == 80
    steps = whole["reward_progress"].to_list()
    firsts, lasts = steps[::2], steps[1::2]
    assert all(last <= 0.05 for last in lasts)
    moved = [first + 0.9 * last for first, last in zip(firsts, lasts, strict=True)]
    plain = transitions(10_001, discount=0.9, tool_error=-1.0)
    shifts = [now - before for now, before in zip(whole["return_"][::2], plain["return_"][::2], strict=True)]
    assert shifts == pytest.approx(moved)
    assert whole["signals"].str.contains('"progress":').all()
    assert plain["reward_progress"].null_count() == plain.height
