"""Rows of the published tables, where a span is not simply a row."""

from typing import Any

import polars as pl
import pytest

from etl.assemble import Assembly, Facts
from etl.calls.completing.untraced_tools import DIALECT as UNTRACED
from etl.dialects.spans import Embedding, ToolCall
from etl.episodes.grouping import Episode
from etl.rewards.given import Reason, Reward
from etl.schema import RejectReason
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import identifier, llm, logs_frame, reward_record, span, spans_frame
from tests.unit.etl.calls.made import counts, said, seen

EPISODE = Episode(("p", "e1"), rows=[0, 1], traces=[identifier("t", 32)])


def facts(*, logs: list[dict[str, Any]] | None = None, seqs: tuple[int, int] = (2, 4)) -> Facts:
    rows = [span(f"s{number}", seq=seq) for number, seq in enumerate(seqs)]
    return Facts(spans_frame(rows), logs_frame(logs or []))


def assembly() -> Assembly:
    return Assembly(EtlConfig(), facts(), [], {})


@pytest.mark.parametrize(
    ("log", "revision"),
    [
        ({"seq": 9}, 9),
        ({"seq": 3}, 4),
        ({"seq": 9, "trace": "another"}, 4),
    ],
    ids=["later", "earlier", "of another trace"],
)
def test_a_revision_is_the_last_request_that_told_of_the_episode(log: dict[str, Any], revision: int) -> None:
    """A log record of its trace may be that; one of another trace, or project, is not."""
    record = reward_record(1.0, **log)

    assert facts(logs=[{**record, "project": "p"}]).revision(EPISODE) == revision
    assert facts(logs=[{**record, "project": "q"}]).revision(EPISODE) == 4
    assert facts(logs=[{**record, "project": "p", "trace_id": None}]).revision(EPISODE) == 4


def test_a_tool_without_a_span_is_told_by_the_call_that_heard_of_it() -> None:
    """It ran between the call that asked for it and the one that has its result; when, nobody says."""
    asked, heard = seen(0, agent="planner"), seen(5)
    traced, untraced = (ToolCall(one.span, dialect, "look") for one, dialect in ((seen(3), "genai"), (heard, UNTRACED)))
    made = assembly()

    made.add_tools([(traced, asked, None), (untraced, asked, None), (untraced, None, None)], [EPISODE], [0] * 9)

    rows = made.rows["tool_calls"]
    assert [row["span_id"] for row in rows] == ["s3", None, None]
    assert [row["parent_span_id"] for row in rows] == [None, "s5", "s5"]
    assert [(row["start_ns"], row["end_ns"]) for row in rows] == [
        (traced.span.start_ns, traced.span.end_ns),
        (heard.span.end_ns, None),
        (heard.span.start_ns, None),
    ]
    assert [row["agent"] for row in rows] == ["planner", "planner", None]


def test_an_embedding_is_a_call_and_no_transition() -> None:
    """Its texts and the lengths of its vectors are kept; what it does not tell is null, not an empty list."""
    made = assembly()
    told = Embedding.of(seen(0, input=[said("user", "a")], usage=counts(None)), [3])

    made.add_embeddings([told, Embedding.of(seen(1), [])], [EPISODE], [0, 0])

    rows = made.rows["llm_calls"]
    assert [row["input"] for row in rows] == ['["a"]', None]
    assert [row["output"] for row in rows] == ['[{"embedding_dimensions":3}]', None]
    assert [row["reason"] for row in made.rows["rejected"]] == [RejectReason.EMBEDDING.value] * 2


def test_rewards_of_an_episode_that_waits_wait_with_it() -> None:
    """One that found no episode is published: whoever gave it sees what became of it."""
    made = assembly()
    given = [Reward("p", "t", None, name, 1.0, None, None, "log_record", 0) for name in ("kept", "waiting", "lost")]
    given[0].episode, given[1].episode = 0, 1
    for reward in given:
        reward.reason = Reason.OUTCOME if reward.episode is not None else Reason.NO_SPAN

    made.add_rewards(given, [EPISODE, EPISODE], [True, False])

    assert [row["name"] for row in made.rows["rewards"]] == ["kept", "lost"]


def test_a_call_set_apart_is_shown_with_its_reason() -> None:
    """It is a row of the calls and of the rejected; its episode is there, with the transitions that are left."""
    dataset = _made(llm("a"), llm("b", start=3, attributes={"gen_ai.input.messages": None}))

    assert dataset.tables["llm_calls"].height == 2
    assert dataset.tables["rejected"]["span_id"].to_list() == [identifier("b", 16)]
    assert dataset.tables["transitions"]["span_id"].to_list() == [identifier("a", 16)]
    assert dataset.tables["episodes"].select("num_spans", "num_transitions").rows() == [(2, 1)]


def test_an_episode_without_a_transition_is_one_all_the_same() -> None:
    """From its first span to its last, by its root; nothing is said of why it stopped."""
    dataset = _made(span("root", start=0, end=9, seq=3), span("child", parent="root", start=1, end=12, seq=2))

    (row,) = dataset.tables["episodes"].iter_rows(named=True)
    assert [row["root_name"], row["end_ns"] - row["start_ns"]] == ["root", 12 * 10**9]
    assert [row["revision"], row["first_seq"], row["num_transitions"], row["stop_reason"]] == [3, 2, 0, None]
    assert isinstance(dataset.tables["transitions"], pl.DataFrame)


def _made(*rows: dict[str, Any]) -> Dataset:
    return transform(spans_frame(rows), logs_frame(), EtlConfig(complete_after=0))
