"""Runs over growing stores: what came in which window must not show in the result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from etl.run import run_etl
from etl.schema import read_watermark, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from tests.spans import (
    START_NS,
    Span,
    evaluation,
    gateway,
    identifier,
    llm,
    logs_frame,
    reward_record,
    span,
    spans_frame,
)

pytestmark = pytest.mark.integration

MINUTE_US = 60_000_000


class Store:
    """A stand-in for the receiver's reader: the same SQL, on an in-memory DuckDB of given rows."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.logs: list[dict[str, Any]] = []

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT over the rows of now."""
        connection = duckdb.connect()
        connection.register("spans", spans_frame(self.spans).to_arrow())
        connection.register("log_records", logs_frame(self.logs).to_arrow())
        return connection.sql(sql, params=parameters or None).to_arrow_table()

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store that `connect` opens."""
    made = Store()
    monkeypatch.setattr("etl.run.connect", lambda _: made)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the ETL so many minutes after the first span was received, and return the report."""

    def run_at(minutes: float = 1, **settings: Any) -> dict[str, Any]:
        report = RunReport("etl run", {})
        config = EtlConfig(data=tmp_path, **settings)
        run_etl(config, report, dry_run=False, now_us=lambda: START_NS // 1000 + int(minutes * MINUTE_US))
        return report.as_dict()

    return run_at


def rows(data: Path, table: str) -> pl.DataFrame:
    """Return a published table."""
    return pl.concat([pl.read_parquet(file) for file in table_files(data, table)])


def test_a_trace_split_over_windows_comes_out_as_in_one(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """Children first, the root a window later."""
    store.spans += [llm("a", parent="root", start=1, seq=1)]
    waiting = run()
    store.spans += [span("root", end=9, seq=2, events=[evaluation(1.0)])]
    done = run()

    assert (waiting["episodes"], waiting["episodes_waiting"]) == (0, 1)
    assert (done["episodes"], done["episodes_waiting"]) == (1, 0)
    assert rows(tmp_path, "transitions")["outcome"].to_list() == [1.0]
    watermark = read_watermark(tmp_path)
    assert watermark is not None
    assert (watermark["received_seq"], watermark["pending"]) == (2, [])


def test_a_waiting_trace_is_taken_once_it_is_idle(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """Though nothing new arrived."""
    store.spans += [llm("a", parent="gone", seq=1)]
    run(minutes=1)
    assert table_files(tmp_path, "episodes") == []

    run(minutes=16)

    assert rows(tmp_path, "episodes")["is_complete"].to_list() == [False]


def test_the_gateways_trace_waits_for_the_agents(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """It comes a window earlier and belongs to the same episode."""
    store.spans += [gateway("gate", trace="g", start=1.1, end=1.9, response_id="r1", seq=1)]
    run()
    store.spans += [llm("a", start=1, end=2, response_id="r1", seq=2)]
    run()

    (episode,) = rows(tmp_path, "episodes").to_dicts()
    assert len(episode["trace_ids"]) == 2
    assert rows(tmp_path, "transitions")["evidence"].to_list() == ["A"]


def test_an_agent_that_comes_hours_later_takes_back_its_gateway_call(
    tmp_path: Path, store: Store, run: Callable[..., Any]
) -> None:
    """Published as an episode of its own by then; the response id finds it."""
    store.spans += [gateway("gate", trace="g", start=1.1, end=1.9, response_id="r1", seq=1)]
    run(minutes=20)
    alone = rows(tmp_path, "episodes")["episode_id"].to_list()
    store.spans += [llm("a", start=1, end=2, response_id="r1", seq=2)]
    run(minutes=300)

    assert alone == [identifier("g", 32)]
    assert rows(tmp_path, "episodes")["episode_id"].to_list() == [identifier("t", 32)]
    assert rows(tmp_path, "llm_calls").height == 1


def test_a_conversation_grows_over_windows(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """A trace a turn: the next turn is a new revision of the whole conversation."""
    talk = {"gen_ai.conversation.id": "talk"}
    store.spans += [llm("a", trace="1", attributes=talk, seq=1)]
    run()
    store.spans += [llm("b", trace="2", start=5, attributes=talk, seq=2)]
    run()

    (episode,) = rows(tmp_path, "episodes").to_dicts()
    assert (episode["num_transitions"], episode["revision"]) == (2, 2)
    assert rows(tmp_path, "transitions")["step"].to_list() == [0, 1]


def test_a_reward_given_the_next_day_reaches_its_episode(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """User feedback comes when it comes, as a log record."""
    store.spans += [llm("a", seq=1), llm("other", trace="u", seq=1)]
    run()
    store.logs += [reward_record(0.0, seq=2)]
    report = run(minutes=1440)

    assert report["spans"]["in"] == 1
    outcomes = dict(rows(tmp_path, "episodes").select("episode_id", "outcome").iter_rows())
    assert outcomes == {identifier("t", 32): 0.0, identifier("u", 32): None}
    assert rows(tmp_path, "rewards")["reason"].to_list() == ["outcome"]
