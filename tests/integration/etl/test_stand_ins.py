"""Rewards that name no trace are those of the call with their response id, whenever either comes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.exports.export import read_table
from etl.runs.run import run_etl
from etl.schema import read_watermark
from etl.settings import EtlConfig
from foundation.report import RunReport
from otel_exporter.schema import EVALUATION_NAME, EVALUATION_SCORE
from tests.integration.etl.test_windows import Store
from tests.spans import START_NS, Span, llm, reward_record, span

pytestmark = pytest.mark.integration

MINUTE_US = 60_000_000


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store that `connect` opens."""
    made = Store()
    monkeypatch.setattr("etl.runs.run.open_receivers", lambda _: made)
    return made


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the ETL a minute after the first span was received, and return the report's rewards by reason."""

    def run_etl_once(**settings: Any) -> dict[str, Any]:
        report = RunReport("etl run", {})
        config = EtlConfig(data=tmp_path, **settings)
        run_etl(config, report, dry_run=False, now_us=lambda: START_NS // 1000 + MINUTE_US)
        return report.as_dict()["rewards"]

    return run_etl_once


def record(response_id: str | None, value: float = 0.5, *, seq: int, name: str = "style") -> dict[str, Any]:
    """Return a reward that names no trace."""
    attributes = {EVALUATION_NAME: name, EVALUATION_SCORE: value, "gen_ai.response.id": response_id}
    return {
        **reward_record(value, seq=seq),
        "trace_id": None,
        "attributes": json.dumps({key: item for key, item in attributes.items() if item is not None}),
    }


def episode(name: str, *, response_id: str, seq: int, root: bool = True) -> list[Span]:
    """Return a trace of an agent that makes one call."""
    roots = [span(f"{name}-root", trace=name, end=9, seq=seq)] if root else []
    return [*roots, llm(name, trace=name, parent=f"{name}-root", response_id=response_id, seq=seq)]


def given(data: Path) -> list[tuple[Any, ...]]:
    """Return every published reward."""
    return sorted(read_table(data, "rewards").select("name", "value", "reason").iter_rows(), key=str)


def steps(data: Path) -> list[float | None]:
    """Return the step reward of every transition."""
    return read_table(data, "transitions").sort("trace_id")["reward_step"].to_list()


def test_a_reward_beside_its_call(tmp_path: Path, store: Store, run: Run) -> None:
    """In one window: used, and counted so; others with the reason they are not."""
    store.spans = episode("a", response_id="r1", seq=1)
    store.logs = [record("r1", seq=2), record("unknown", seq=3), record(None, seq=4)]

    assert run() == {"no_such_span": 2, "step": 1}
    assert steps(tmp_path) == [0.5]


def test_a_reward_after_its_call_was_published(tmp_path: Path, store: Store, run: Run) -> None:
    """And another after that, which corrects it; a late span of the trace forgets neither."""
    store.spans = [*episode("a", response_id="r1", seq=1), *episode("b", response_id="r2", seq=2)]
    run()
    store.logs = [record("r1", seq=3)]
    run()
    assert steps(tmp_path).count(0.5) == 1

    store.logs.append({**record("r1", 0.75, seq=4), "time_ns": START_NS * 2})
    run()
    assert given(tmp_path) == [("style", 0.5, "superseded"), ("style", 0.75, "step")]

    store.spans.append(span("late", trace="a", parent="a-root", seq=5))
    run()
    assert given(tmp_path) == [("style", 0.5, "superseded"), ("style", 0.75, "step")]
    assert sorted(steps(tmp_path), key=str) == [0.75, None]


def test_a_reward_before_its_call(tmp_path: Path, store: Store, run: Run) -> None:
    """Unused until the call comes."""
    store.logs = [record("r1", seq=1)]
    assert run() == {"no_such_span": 1}

    store.spans = episode("a", response_id="r1", seq=2)
    run()

    assert given(tmp_path) == [("style", 0.5, "step")]
    assert steps(tmp_path) == [0.5]


def test_a_reward_of_an_episode_that_waits(tmp_path: Path, store: Store, run: Run) -> None:
    """It waits with it."""
    store.spans = episode("a", response_id="r1", seq=1, root=False)
    store.logs = [record("r1", seq=2)]
    assert run() == {}

    store.spans += [span("a-root", trace="a", end=9, seq=3)]
    run()

    assert steps(tmp_path) == [0.5]
    assert given(tmp_path) == [("style", 0.5, "step")]
    watermark = read_watermark(tmp_path)
    assert watermark is not None
    assert watermark["pending"] == []


@pytest.mark.long
@pytest.mark.parametrize("prefix", ["chatcmpl-0", "anything "])
def test_buckets_change_nothing(tmp_path: Path, store: Store, run: Run, prefix: str) -> None:
    """Whether the id looks like one, so that the reward is put beside its call at once, or only reading shows it."""
    for number in range(6):
        store.spans += episode(f"t{number}", response_id=f"{prefix}{number}", seq=number + 1)
    store.logs = [record(f"{prefix}{number}", number / 8, seq=20 + number) for number in range(1, 8)]

    assert run(bucket_spans=2) == {"no_such_span": 2, "step": 5}
    assert sorted(steps(tmp_path), key=str) == [0.125, 0.25, 0.375, 0.5, 0.625, None]


def test_of_two_calls_with_one_id_none_is_guessed(tmp_path: Path, store: Store, run: Run) -> None:
    """Wherever they were read, and when."""
    store.spans = episode("a", response_id="r1", seq=1)
    store.logs = [record("r1", seq=2)]
    assert run() == {"step": 1}

    store.spans += episode("b", response_id="r1", seq=3)
    run(bucket_spans=1)

    assert given(tmp_path) == [("style", 0.5, "no_such_span")]
    assert steps(tmp_path) == [None, None]


def test_another_project_says_nothing(store: Store, run: Run) -> None:
    """An id counts where it was given."""
    store.spans = episode("a", response_id="r1", seq=1)
    store.logs = [{**record("r1", seq=2), "project": "other"}]

    assert run() == {"no_such_span": 1}
