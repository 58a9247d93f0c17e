"""Tasks said nearly alike come into one group, in whichever bucket and whenever they came."""

from pathlib import Path

import polars as pl

from etl.published.publish import publish
from etl.runs.split_groups import settle_groups
from etl.runs.work import Processed
from etl.schema import dataset_directory
from etl.settings import EtlConfig
from tests.spans import Span, llm
from tests.unit.etl.published.dataset import trace, written

QUESTION = (
    "a friend of mine would like to book a quiet hotel near the old harbour in the first week of May and "
    "wants to know whether breakfast and a place for the car come with the room"
)
OTHER = "how many parameters does the smallest model have that was trained on this set of addition problems last year"


def ask(name: str, question: str, seq: int) -> Span:
    return llm(name, trace=name, asked=[("user", question)], seq=seq, start=seq)


def bucket(data: Path, *spans: Span, seq: int = 9) -> Processed:
    """Return what came of a bucket, written and unpublished."""
    _, parts = written(data, seq, *spans)
    return Processed({(row["project"], row["trace_id"]) for row in spans}, {}, {}, parts)


def groups(data: Path, *results: Processed, table: str = "episodes") -> list[str]:
    """Return the groups of the buckets' episodes, in their order."""
    names = [name for done in results for name in done.parts[table]]
    return [
        row["split_group"]
        for name in names
        for row in pl.read_parquet(dataset_directory(data, table) / name).iter_rows(named=True)
    ]


def settled(data: Path, *results: Processed) -> list[Processed]:
    window, _ = written(data, 9)
    return settle_groups(EtlConfig(data=data), window, results)


def test_near_tasks_of_two_buckets_are_in_the_group_of_the_first(tmp_path: Path) -> None:
    """By order of receipt, not of buckets; only the part in which that changes something is written anew."""
    later = bucket(tmp_path, ask("b", f"{QUESTION} thank you", 2))
    first = bucket(tmp_path, ask("a", QUESTION, 1), ask("c", OTHER, 3))
    before = groups(tmp_path, later, first)
    assert len(set(before)) == 3

    found = settled(tmp_path, later, first)

    assert found[1] is first
    assert groups(tmp_path, found[0]) == groups(tmp_path, found[0], table="transitions")
    assert groups(tmp_path, found[0])[0] in groups(tmp_path, first)
    assert found[0].parts["llm_calls"] == later.parts["llm_calls"]


def test_a_published_task_keeps_its_group(tmp_path: Path) -> None:
    """Whatever came later joins it."""
    window, parts = written(tmp_path, 1, ask("a", QUESTION, 1))
    publish(tmp_path, window, {trace("a")}, [parts], [], 1)
    published = groups(tmp_path, Processed(set(), {}, {}, parts))

    (found,) = settled(tmp_path, bucket(tmp_path, ask("b", f"{QUESTION} thank you", 2)))

    assert groups(tmp_path, found) == published


def test_where_nothing_changes_nothing_is_written(tmp_path: Path) -> None:
    """Tasks that are far apart, and a run of no tasks at all: the very same results."""
    results = [bucket(tmp_path, ask("a", QUESTION, 1)), bucket(tmp_path, ask("b", OTHER, 2))]
    before = sorted(tmp_path.rglob("*.parquet"))

    found = settled(tmp_path, *results)

    assert [one is other for one, other in zip(found, results, strict=True)] == [True, True]
    assert sorted(tmp_path.rglob("*.parquet")) == before
    assert settled(tmp_path, Processed(set(), {}, {})) == [Processed(set(), {}, {})]
