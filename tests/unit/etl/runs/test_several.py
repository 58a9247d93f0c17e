"""Several receivers are read as one: the same rows as one that took everything, whichever took what."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from etl.published.publish import load_watermark, publish
from etl.published.window import Window, Windows
from etl.runs import division, several
from etl.runs.plan import Plan, make_plan
from etl.runs.several import Several, open_receivers
from etl.runs.work import Job, Worker
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from etl.tables import STEP, in_order, scan
from foundation.errors import SettingsError
from otel_exporter.schema import EPISODE_ID
from receiver.schema import Reader
from tests.spans import Span, agent, llm
from tests.unit.etl.runs.test_source import record, tables, trace

OF_RECEIPT = {"revision", "first_seq"}
"""Columns that number requests: what they say depends on who took them."""

URLS = ("http://a:4318", "http://b:4318", "http://c:4318")


def some_traces() -> list[Span]:
    """Twelve traces of an agent with two calls; the last two are one episode."""
    found: list[Span] = []
    for number in range(12):
        name = f"t{number}"
        rest: dict[str, Any] = {"attributes": {EPISODE_ID: "both"}} if number >= 10 else {}
        found.append(agent(f"{name}-root", agent_name="clerk", trace=name, seq=number + 1))
        found += [llm(f"{name}-{k}", trace=name, parent=f"{name}-root", seq=number + 1, **rest) for k in range(2)]
    return found


def dealt(spans: list[Span], *, again: bool = False) -> list[list[Span]]:
    """Deal spans to three receivers, a call of a trace elsewhere than the rest; `again`: one reached two of them."""
    found: list[list[Span]] = [[], [], []]
    for span in spans:
        key = hashlib.sha256(f"{span['trace_id']}{span['name'][-1:]}{span['span_id'][-1]}".encode()).digest()[0] % 3
        found[key].append(span)
    for number, own in enumerate(found):
        found[number] = [{**span, "received_seq": place + 1} for place, span in enumerate(own)]
    if again:
        found[2].append({**found[0][0], "received_seq": len(found[2]) + 1})
    return found


def three(parts: list[list[Span]], **extra: Any) -> Reader:
    readers = {url: tables(*own, **extra) for url, own in zip(URLS, parts, strict=True)}
    return cast("Reader", Several(readers))


def run(data: Path, reader: Reader, **settings: Any) -> Plan:
    """Plan, process and publish what a reader has."""
    config = EtlConfig(data=data, complete_after=0, **settings)
    plan = make_plan(config, reader, now_us=10**18)
    worker = Worker(Job(config, plan.window, plan.now_us, plan.stand_ins), partial(several.read_traces, reader))
    done = [worker.process(bucket) for bucket in plan.buckets]
    traces = {trace for one in done for trace in one.traces}
    seq = sum(plan.reached.values()) if plan.reached else plan.window.until_seq
    publish(data, plan.window, traces, [one.parts for one in done], set(), seq, receivers=plan.reached)
    return plan


def digests(data: Path) -> dict[str, str]:
    """Return a digest of the rows of each table, but for the numbers of receipt."""
    found = {}
    for table, columns in TABLES.items():
        rows = in_order(table, scan(table, table_files(data, table)).collect())
        own = rows.select(pl.col(name) for name in columns if name not in OF_RECEIPT)
        found[table] = hashlib.sha256(own.write_json().encode()).hexdigest()
    return found


@pytest.mark.parametrize("bucket_spans", [25_000, 5])
def test_three_receivers_publish_what_one_does(tmp_path: Path, bucket_spans: int) -> None:
    """By digest of every row; traces are spread over all three, and one episode over two traces."""
    spans = some_traces()
    run(tmp_path / "one", tables(*spans))

    plan = run(tmp_path / "three", three(dealt(spans)), bucket_spans=bucket_spans)

    assert digests(tmp_path / "three") == digests(tmp_path / "one")
    assert scan("transitions", table_files(tmp_path / "three", "transitions")).collect().height == 24
    assert (len(plan.buckets) > 1) is (bucket_spans == 5)


def test_a_span_that_reached_two_is_one(tmp_path: Path) -> None:
    """A balancer sent it again elsewhere, since the answer of the first was lost: it is named, and used once."""
    spans = some_traces()
    run(tmp_path / "one", tables(*spans))
    run(tmp_path / "three", three(dealt(spans, again=True)))

    one, of_three = digests(tmp_path / "one"), digests(tmp_path / "three")

    rejected = scan("rejected", table_files(tmp_path / "three", "rejected")).collect()
    assert rejected["reason"].to_list() == ["duplicate"]
    assert {name: digest for name, digest in of_three.items() if name != "rejected"} == {
        name: digest for name, digest in one.items() if name != "rejected"
    }


def test_each_receiver_is_read_from_where_it_was(tmp_path: Path) -> None:
    """Nothing is new the second time; what one alone took later is, and a revision grows whoever took the late span."""
    parts = dealt(some_traces())
    run(tmp_path, three(parts))
    assert make_plan(EtlConfig(data=tmp_path), three(parts), now_us=0).is_new is False
    assert load_watermark(tmp_path)["receivers"] == {url: len(own) for url, own in zip(URLS, parts, strict=True)}
    before = scan("episodes", table_files(tmp_path, "episodes")).collect()

    parts[0].append(llm("late", trace="t3", seq=len(parts[0]) + 1))
    plan = run(tmp_path, three(parts))

    assert isinstance(plan.window, Windows)
    assert [first <= last for first, last in plan.window.each] == [True, False, False]
    after = scan("episodes", table_files(tmp_path, "episodes")).collect()
    both = before.join(after, on="episode_id", suffix="_after")
    assert both.filter(pl.col("revision_after") != pl.col("revision")).height == 1
    assert (both["revision_after"] >= both["revision"]).all()
    assert load_watermark(tmp_path)["received_seq"] == sum(map(len, parts))


def test_one_receiver_may_become_several(tmp_path: Path) -> None:
    """The first that is named is the one that was there; its numbers are what they were."""
    spans = some_traces()
    run(tmp_path, tables(*spans))
    more = [llm("other", trace="elsewhere", seq=1)]

    plan = run(tmp_path, three([spans, more, []]))

    assert {own for bucket in plan.buckets for own in bucket.traces} == {trace("elsewhere")}
    assert load_watermark(tmp_path)["receivers"] == dict(zip(URLS, (12, 1, 0), strict=True))


def test_shares_of_a_run_read_the_same_windows(tmp_path: Path) -> None:
    """The plan on disk has each receiver's."""
    plan = make_plan(EtlConfig(data=tmp_path, bucket_spans=5), three(dealt(some_traces())), now_us=0)
    division.join(EtlConfig(data=tmp_path), 2, lambda: plan)

    found = division.load(tmp_path)

    assert found is not None
    assert (found.plan.window, found.plan.reached) == (plan.window, plan.reached)


def test_rewards_come_from_any_of_them(tmp_path: Path) -> None:
    """A record that a receiver took, of a trace another one has."""
    spans = some_traces()
    run(tmp_path, cast("Reader", Several({"a": tables(*spans), "b": tables(logs=[record("t3")])})))

    rewards = scan("rewards", table_files(tmp_path, "rewards")).collect()

    assert rewards["episode_id"].null_count() == 0
    assert rewards.height == 1


def test_all_that_were_read_have_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace may have spans in any: without one of them it would look as if they were gone."""
    publish(tmp_path, Window(1, 1), set(), [], set(), 3, receivers={URLS[0]: 1, URLS[1]: 2})
    monkeypatch.setenv("SPANLOOP_RECEIVER", f"{URLS[1]} {URLS[2]}")
    with pytest.raises(SettingsError, match="http://a:4318 is not named"):
        open_receivers(tmp_path)

    monkeypatch.setenv("SPANLOOP_RECEIVER", f"{URLS[2]} {URLS[1]} {URLS[0]}")
    found: Any = open_receivers(tmp_path)

    assert found.urls == (*URLS[:2], URLS[2]), "in the order in which they keep their numbers"
    with pytest.raises(SettingsError, match="3 receivers are named"):
        found.query("select 1")
    found.close()
    assert STEP > 2**32 * 100, "numbers jump by 2**32 where the last one known was lost"
