"""Rewards given in other traces, or in none, find what they judge: in any bucket, a night later, a night earlier."""

import json
from pathlib import Path
from typing import Any

import pytest

from etl.exports.export import read_table
from tests.integration.etl.test_outliving import Run, run, store  # noqa: F401 - fixtures
from tests.integration.etl.test_windows import Store
from tests.spans import Span, identifier, llm, reward_record, span

pytestmark = pytest.mark.integration


TALK = {"gen_ai.conversation.id": "talk"}
SCORE = {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": 0.5}

Given = tuple[list[Span], list[dict[str, Any]]]


def by_record(*, inside: bool, **ids: str) -> Given:
    """Return a reward as a record that names ids, in the evaluator's own trace or in none."""
    names = {name.replace("_", "."): value for name, value in ids.items()}
    attributes = json.dumps({**SCORE, **{name.replace("~", "_"): value for name, value in names.items()}})
    record = {**reward_record(0.5, trace="j", span_name="judge", seq=50), "attributes": attributes}
    if inside:
        return [span("judge", trace="j", start=50, seq=50)], [record]
    return [], [{**record, "trace_id": None, "span_id": None}]


def by_link() -> Given:
    """Return a reward on an evaluator's span that is linked to the judged root."""
    links = [{"trace_id": identifier("a", 32), "span_id": identifier("a root", 16)}]
    judge = span("judge", trace="j", start=50, seq=50, attributes={**SCORE, "gen_ai.operation.name": "evaluate"})
    return [{**judge, "links": json.dumps(links)}], []


WAYS = {
    "link": by_link(),
    "answer": by_record(inside=False, **{"gen~ai.response.id": "chatcmpl-0000a"}),
    "answer, in a trace": by_record(inside=True, **{"gen~ai.response.id": "chatcmpl-0000a"}),
    "session": by_record(inside=False, **{"session.id": "talk"}),
    "trace taken for an episode": by_record(inside=False, **{"spanloop.episode.id": identifier("a", 32)}),
}


def agents() -> list[Span]:
    """Return an agent's trace in a session, among others."""
    spans: list[Span] = []
    for number, name in enumerate(("x", "a", "y", "z")):
        talk = TALK if name == "a" else {}
        spans.append(span(f"{name} root", trace=name, end=9, seq=number + 1))
        spans.append(
            llm(
                name,
                trace=name,
                parent=f"{name} root",
                response_id=f"chatcmpl-0000{name}",
                seq=number + 1,
                attributes=talk,
            )
        )
    return spans


@pytest.mark.parametrize("order", ["together", "a night earlier", "a night later"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_used_once(tmp_path: Path, store: Store, run: Run, way: str, order: str) -> None:  # noqa: F811
    """Whoever comes first, in buckets of two spans, and kept when a late span comes after."""
    spans, logs = WAYS[way]
    nights = {
        "together": [(agents() + spans, logs)],
        "a night earlier": [(spans, logs), ([{**one, "received_seq": 60} for one in agents()], [])],
        "a night later": [(agents(), []), (spans, logs), ([span("late", trace="a", parent="a root", seq=70)], [])],
    }
    for more_spans, more_logs in nights[order]:
        store.spans += more_spans
        store.logs += more_logs
        run(bucket_spans=2)

    (reward,) = read_table(tmp_path, "rewards").to_dicts()
    assert (reward["reason"], reward["episode_id"]) == ("outcome", identifier("a", 32))
    outcomes = dict(read_table(tmp_path, "transitions").select("span_id", "outcome").iter_rows())
    assert outcomes == {identifier(name, 16): 0.5 if name == "a" else None for name in "xayz"}
