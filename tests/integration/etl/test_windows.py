"""Runs over growing stores: what came in which window must not show in the result."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from shutil import copytree, rmtree
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from etl.exports.export import read_table
from etl.runs.run import publish_shares, run_etl
from etl.schema import TABLES, read_watermark, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from tests.scale import times
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
    tool,
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
    monkeypatch.setattr("etl.runs.run.open_receivers", lambda _: made)
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
    return read_table(data, table)


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
    """A trace a turn: what is published of a turn stays, and its user is known once a later turn says so."""
    talk = {"gen_ai.conversation.id": "talk"}
    store.spans += [llm("a", trace="1", attributes=talk, seq=1)]
    run()
    store.spans += [llm("b", trace="2", start=5, attributes={**talk, "user.id": "u1"}, seq=2)]
    run()

    assert rows(tmp_path, "episodes").select("session_id", "num_transitions").rows() == [("talk", 1), ("talk", 1)]
    assert rows(tmp_path, "transitions")["user_id"].to_list() == ["u1", "u1"]


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


TOWNS = [f"{first}{last}" for first in ("Ber", "Hol") for last in ("gen", "vik", "by")]


def agents_at_work(random: Random) -> tuple[list[Span], list[dict[str, Any]]]:
    """Return agents with tools, talks over two traces, the gateway's spans and feedback, each received at any time."""
    spans: list[Span] = []
    logs: list[dict[str, Any]] = []
    for n in range(5):
        name, links = f"a{n}", {"gen_ai.conversation.id": f"talk {n // 2}"} if n < 4 else {}
        asked = " ".join(random.choice(TOWNS) + random.choice("abcdefgh") for _ in range(20))
        common: dict[str, Any] = {"trace": name}
        spans.append(span(f"{name} root", end=9, **common))
        for step in range(3):
            answer, under = f"{name}-{step}", {"parent": f"{name} root", **common}
            calls = [(f"{answer} call", "look", {"at": step})]
            call = {"asked": [("user", asked)] * (step + 1), "calls": calls, "start": n * 20 + step + 0.5}
            spans.append(llm(answer, response_id=answer, attributes=links, **call, **under))
            spans.append(
                gateway(f"{answer} gate", trace=f"{answer} gate", response_id=answer, start=n * 20 + step + 0.6)
            )
            spans.append(
                tool(f"{answer} tool", tool_name="look", call_id=f"{answer} call", start=n * 20 + step + 0.8, **under)
            )
        logs.append(reward_record(float(n % 2), trace=name))
    for one in [*spans, *logs]:
        one["received_seq"] = random.randint(1, 12)
    return spans, logs


@pytest.mark.long
@pytest.mark.parametrize("seed", range(times(short=2, long=60)))
def test_however_spans_are_late_the_last_night_has_it_all(
    tmp_path: Path, store: Store, run: Callable[..., Any], seed: int
) -> None:
    """Four nights, each of which publishes at once what it finds, leave what one run over everything publishes."""
    spans, logs = agents_at_work(Random(seed))
    for last in (3, 6, 9, 12):
        store.spans = [one for one in spans if one["received_seq"] <= last]
        store.logs = [one for one in logs if one["received_seq"] <= last]
        run(complete_after=0)
    night_by_night = {table: rows(tmp_path, table) for table in TABLES}
    rmtree(tmp_path / "dataset")

    run(complete_after=0)

    for table, found in night_by_night.items():
        assert_frame_equal(found, rows(tmp_path, table))
    assert night_by_night["transitions"].height == 15
    assert set(night_by_night["transitions"]["evidence"]) == {"A"}


QUESTION = (
    "a friend of mine would like to book a quiet hotel near the old harbour of {} in the first week of May and "
    "wants to know whether breakfast and a place for the car come with the room"
)


def ask(town: str, *, politely: bool, seq: int) -> list[Span]:
    """Return an episode about a hotel in a town; politely said, it is nearly the same question."""
    name = f"{town} {politely}"
    # Towns differ in more than their name, so that one is not near to another.
    question = " ".join(f"{word} {town}" if n % 3 == 0 else word for n, word in enumerate(QUESTION.split()))
    asked = f"{question} thank you" if politely else question
    return [llm(name, trace=name, asked=[("user", asked)], seq=seq, start=seq)]


def hotels(*, politely: bool, seq: int) -> list[Span]:
    """Return one episode for each town, each received in a request of its own."""
    return [one for n, town in enumerate(TOWNS) for one in ask(town, politely=politely, seq=seq + n)]


def sides(data: Path) -> dict[str, tuple[str, str]]:
    """Return group and side of every episode, which are those of its transitions."""
    columns = ("episode_id", "split_group", "split")
    found = rows(data, "episodes").select(columns)
    assert_frame_equal(found, rows(data, "transitions").select(columns).unique(), check_row_order=False)
    return {episode: (group, side) for episode, group, side in found.iter_rows()}


def published(data: Path) -> dict[str, bytes]:
    """Return the content of every published file."""
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


@pytest.mark.parametrize("bucket_spans", [1, 1000])
def test_a_task_said_nearly_alike_is_on_the_side_of_the_first(
    tmp_path: Path, store: Store, run: Callable[..., Any], bucket_spans: int
) -> None:
    """A night later, in whichever bucket; what was published stays as it is."""
    store.spans += hotels(politely=False, seq=1)
    run(holdout=0.5, bucket_spans=bucket_spans)
    before, files = sides(tmp_path), published(tmp_path)
    store.spans += hotels(politely=True, seq=101)
    run(holdout=0.5, bucket_spans=bucket_spans)

    after = sides(tmp_path)

    plain, polite = ([after[identifier(f"{town} {polite}", 32)] for town in TOWNS] for polite in (False, True))
    assert plain == polite
    assert len({group for group, _ in plain}) == len(TOWNS)
    assert {side for _, side in plain} == {"train", "heldout"}
    assert before.items() <= after.items()
    assert files.items() <= published(tmp_path).items()


@pytest.mark.long
def test_neither_buckets_nor_windows_show_in_the_groups(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """One window and one bucket, an episode a bucket, or three windows: the same groups and sides; again: the bytes."""
    spans = [
        one for pair in zip(hotels(politely=False, seq=1), hotels(politely=True, seq=51), strict=True) for one in pair
    ]
    store.spans += spans
    found = []
    for bucket_spans in (1000, 1):
        run(holdout=0.5, bucket_spans=bucket_spans)
        found.append(sides(tmp_path))
        files = published(tmp_path)
        run(holdout=0.5, bucket_spans=bucket_spans, since=datetime(2020, 1, 1, tzinfo=UTC))
        assert published(tmp_path) == files
        rmtree(tmp_path / "dataset")
    store.spans.clear()
    for last in (7, 55, 99):
        store.spans[:] = [one for one in spans if one["received_seq"] <= last]
        run(holdout=0.5)
    found.append(sides(tmp_path))

    assert found[0] == found[1] == found[2]
    assert len({group for group, _ in found[0].values()}) == len(TOWNS)


@pytest.mark.long
def test_shares_find_near_tasks_in_each_others_buckets(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """The bytes of one process; also where publishing died before the division was removed, and is done again."""
    store.spans += [*hotels(politely=False, seq=1), *hotels(politely=True, seq=51)]
    run(bucket_spans=1)
    expected = published(tmp_path)
    rmtree(tmp_path / "dataset")
    run(bucket_spans=1, bucket="1/2")
    run(bucket_spans=1, bucket="0/2")
    division, kept = tmp_path / "dataset" / "division", tmp_path / "kept"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.runs.division.discard", lambda _: copytree(division, kept))
        publish_shares(EtlConfig(data=tmp_path), RunReport("etl publish", {}))
    first = published(tmp_path)

    publish_shares(EtlConfig(data=tmp_path), RunReport("etl publish", {}))

    assert first == expected
    assert published(tmp_path) == expected
    assert not division.exists()
    assert kept.exists()


def test_a_dataset_of_before_a_column_was_added_is_gone_on_with(
    tmp_path: Path, store: Store, run: Callable[..., Any]
) -> None:
    """Its rows stay, and are replaced by later revisions; near tasks are found from the new rows on."""
    store.spans += hotels(politely=False, seq=1)
    run()
    for path in table_files(tmp_path, "episodes"):
        pl.read_parquet(path).drop("split_signature").write_parquet(path)
    store.spans += [*hotels(politely=True, seq=101), llm("late", trace=f"{TOWNS[0]} False", start=9, seq=150)]
    run()

    assert len(sides(tmp_path)) == 2 * len(TOWNS)
    revised = rows(tmp_path, "episodes").filter(pl.col("num_transitions") == 2)
    assert revised["split_signature"].list.len().to_list() == [16]


def continued(name: str, asked: str, *, previous: str | None = None, **rest: Any) -> Span:
    """Return a response that continues another, in a trace of its own."""
    fields = {} if previous is None else {"gen_ai.openai.request.previous_response_id": f"resp_{previous}"}
    return llm(name, trace=name, response_id=f"resp_{name}", asked=[("user", asked)], attributes=fields, **rest)


def test_a_response_of_an_earlier_night_is_the_history_of_a_later_one(
    tmp_path: Path, store: Store, run: Callable[..., Any]
) -> None:
    """Also when its spans are gone."""
    store.spans = [continued("a", "I am Zora.", seq=1)]
    run()
    store.spans = [continued("b", "When?", previous="a", start=5, seq=2)]
    run(complete_after=0)

    last = rows(tmp_path, "transitions").sort("start_ns").row(-1, named=True)
    assert [message["text"] for message in json.loads(last["observation"])] == ["I am Zora.", "hello", "When?"]


def test_a_conversation_goes_on_in_a_later_night(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """Which the provider holds: each request has only what is new, and the spans of the night before are gone."""

    def turn(name: str, asked: str, tokens: int, **rest: Any) -> Span:
        fields = {
            "llm.invocation_parameters": json.dumps({"conversation": "conv_68a1f0"}),
            "gen_ai.usage.input_tokens": tokens,
            "gen_ai.usage.output_tokens": 1,
        }
        return llm(name, trace=name, response_id=f"resp_{name}", asked=[("user", asked)], attributes=fields, **rest)

    store.spans = [turn("a", "I am Zora.", 7, seq=1)]
    run(complete_after=0)
    store.spans = [turn("b", "When?", 18, start=5, seq=2)]
    run(complete_after=0)

    last = rows(tmp_path, "transitions").sort("start_ns").row(-1, named=True)
    assert [message["text"] for message in json.loads(last["observation"])] == ["I am Zora.", "hello", "When?"]


def test_in_buckets_as_well_a_response_has_its_history(tmp_path: Path, store: Store, run: Callable[..., Any]) -> None:
    """What continues another is in one bucket with it."""
    store.spans = [
        continued("a", "I am Zora.", seq=1),
        *(llm(f"x{number}", trace=f"x{number}", start=1, seq=2) for number in range(4)),
        continued("b", "When?", previous="a", start=5, seq=3),
    ]
    run(complete_after=0, bucket_spans=1)

    assert rows(tmp_path, "rejected").height == 0


def test_a_response_that_comes_late_completes_what_continues_it(
    tmp_path: Path, store: Store, run: Callable[..., Any]
) -> None:
    """What was rejected for its sake is computed anew."""
    store.spans = [continued("b", "When?", previous="a", start=5, seq=1)]
    run(complete_after=0)
    assert rows(tmp_path, "rejected")["reason"].to_list() == ["history_not_at_hand"]

    store.spans += [continued("a", "I am Zora.", seq=2)]
    run(complete_after=0)

    assert rows(tmp_path, "rejected").height == 0
    assert rows(tmp_path, "transitions").height == 2
