"""Buckets change how much is in memory, and nothing of what comes out."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from etl.exports.export import read_table
from etl.runs.buckets import divide
from etl.runs.run import run_etl
from etl.runs.source import TraceFacts
from etl.schema import TABLES
from etl.settings import EtlConfig
from foundation.report import RunReport
from receiver.intake.importing import import_files

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
NAMES = (
    "agent-framework/tool_call",
    "openinference-langchain/parallel_tools",
    "traceloop-openai-agents/handoff",
    "otel-openai-legacy/multi_turn",
    "mlflow/streaming_tool",
    "litellm/tool_call",
    "agentlightning-agentops/rewards",
)


def run(data: Path, bucket_spans: int) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """Run the ETL over everything again; return what is published and the report."""
    shutil.rmtree(data / "dataset", ignore_errors=True)
    config = EtlConfig(data=data, complete_after=0, bucket_spans=bucket_spans)
    report = RunReport("etl run", {})
    run_etl(config, report, dry_run=False)
    return {table: read_table(data, table) for table in TABLES}, report.as_dict()


@pytest.mark.integration
def test_the_size_of_buckets_changes_nothing(tmp_path: Path) -> None:
    """One trace at a time, or all at once."""
    files = [path for name in NAMES for path in sorted((FIXTURES / name).parent.glob(f"{Path(name).name}*.pb"))]
    import_files(tmp_path, files)

    whole, report = run(tmp_path, 1_000_000)
    small, other = run(tmp_path, 1)

    for table, rows in whole.items():
        assert_frame_equal(rows, small[table])
    assert whole["transitions"].height > 10
    for key in ("spans", "calls", "rewards", "evidence", "episodes", "num_rows"):
        assert report[key] == other[key]
    assert report["phases"][0]["buckets"] < other["phases"][0]["buckets"]


def fact(
    name: str, seq: int, *links: str, spans: int = 10, size: int = 1000, gateway: bool = False, at: int = 0
) -> TraceFacts:
    """Return a trace as it is known before it is read."""
    second = 1_000_000_000
    start_ns = (at or seq * 10) * second
    return TraceFacts(("p", name), spans, size, seq, seq, start_ns, start_ns + second, gateway, links)


def names(*facts: TraceFacts, max_spans: int = 20, together: tuple[tuple[str, ...], ...] = ()) -> list[set[str]]:
    """Return the traces of each bucket."""
    sets = [[("p", name) for name in group] for group in together]
    return [{name for _, name in bucket.traces} for bucket in divide(facts, sets, max_spans=max_spans)]


def test_traces_are_divided_in_order_of_receipt() -> None:
    """As many as fit."""
    assert names(fact("a", 1), fact("b", 2), fact("c", 3)) == [{"a", "b"}, {"c"}]


def test_long_texts_fill_a_bucket_too() -> None:
    """20 spans of 8 KiB are the text of a bucket; a neighbour in time may add half of that, and no more."""
    long = 100 * 1024

    assert names(fact("a", 1), fact("b", 2, size=long), fact("c", 3, size=long)) == [{"a", "b"}, {"c"}]
    near = [
        fact("a", 1, size=long, at=10),
        fact("g", 2, size=long, gateway=True, at=10),
        fact("b", 3, size=long, at=11),
    ]
    assert names(*near, max_spans=20) == [{"a", "g"}, {"b"}]


def test_traces_that_share_an_id_stay_together() -> None:
    """Also through a third, and by what was published before."""
    facts = [fact("a", 1, "s"), fact("b", 2), fact("c", 3, "s", "r"), fact("d", 4, "r"), fact("e", 5)]

    assert names(*facts) == [{"a", "c", "d"}, {"b", "e"}]
    assert names(*facts, together=(("b", "a"),)) == [{"a", "b", "c", "d"}, {"e"}]


def test_a_gateways_trace_is_not_cut_from_its_neighbour() -> None:
    """Unless an id says whose it is, or they are apart in time."""
    near = [fact("a", 1, at=10), fact("b", 2, at=10), fact("g", 3, gateway=True, at=11), fact("z", 4, at=90)]

    assert names(*near) == [{"a", "b", "g"}, {"z"}]
    assert names(*near, max_spans=10) == [{"a"}, {"b", "g"}, {"z"}]


@pytest.mark.long
@pytest.mark.integration
def test_a_store_of_all_recordings_reconciles(tmp_path: Path) -> None:
    """Every span is used, ignored or rejected, every call a transition or rejected; no scope is left unread."""
    import_files(tmp_path, sorted(FIXTURES.glob("*/*.pb")))

    tables, report = run(tmp_path, 500)

    spans, calls = report["spans"], report["calls"]
    parts = [*spans["used"].values(), *spans["ignored"].values(), *spans["rejected"].values(), spans["waiting"]]
    assert sum(parts) == spans["in"] > 3000
    assert calls["transitions"] + sum(calls["rejected"].values()) == calls["in"] == tables["llm_calls"].height
    assert sum(report["rewards"].values()) == tables["rewards"].height
    assert report["unread_scopes"] == {}
    assert report["phases"][0]["buckets"] > 3
