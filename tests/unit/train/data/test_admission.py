"""Rungs of the ladder by what is on record and whose weights are at hand, as expressions over rows."""

import polars as pl
import pytest

from etl.schema import Evidence
from tests.logged import frame, transition
from train.data.admission import disown, rung_of, with_agents


def rung(*, policies: frozenset[str] | None = None, own: str | None = None, **fields: object) -> str:
    rows = frame([transition(**{"policy_version": "v1", **fields})])
    return str(rows.select(rung_of(policies, own)).item())


@pytest.mark.parametrize(
    ("fields", "own", "expected"),
    [
        ({}, "v1", Evidence.EXACT),
        ({"top_p": 0.9}, "v1", Evidence.EXACT),
        ({"top_p": 0.9}, "v2", Evidence.CUT),
        ({"top_p": 0.9, "policy_version": None}, "v2", Evidence.EXACT),
        ({"logprobs_mode": "raw", "temperature": 0.5}, "v1", Evidence.RESCORED),
        ({"logprobs_mode": "raw", "temperature": 0.5}, "v2", Evidence.CUT),
        ({"logprobs_mode": "masked"}, "v1", Evidence.CUT),
        ({"temperature": 0.0}, "v1", Evidence.CUT),
        ({"evidence": "B"}, "v1", Evidence.RESCORED),
        ({"evidence": "B"}, "v2", Evidence.IDS),
        ({"evidence": "B", "policy_version": "stranger"}, "v2", Evidence.FOREIGN),
        ({"evidence": "C"}, "v1", Evidence.TEXT),
    ],
)
def test_weights_at_hand_make_more_of_a_record(fields: dict[str, object], own: str, expected: Evidence) -> None:
    """What was left of a distribution can be computed with them; what nobody wrote down of it cannot."""
    assert rung(policies=frozenset({"v1", "v2"}), own=own, **fields) == expected


def test_names_are_matched_as_a_shell_does() -> None:
    """Each once; all where nobody was named."""
    names = pl.Series(["planner", "plan-b", "critic", "planner"])

    assert sorted(with_agents(names, ("plan*", "nobody"))) == ["plan-b", "planner"]
    assert sorted(with_agents(names, ())) == ["critic", "plan-b", "planner"]


def test_ids_that_are_not_ours_leave_a_call_its_text() -> None:
    """Taken away whole, with their log-probabilities, and said so."""
    rows = frame([transition(tokenizer_digest="ours"), transition(tokenizer_digest="theirs")])

    kept, taken = disown(rows, tokenizer="ours", versions=frozenset()).rows(named=True)

    assert (kept["is_disowned"], kept["prompt_token_ids"], kept["evidence"]) == (False, [1, 2, 3], "A")
    assert (taken["is_disowned"], taken["prompt_token_ids"], taken["behavior_logprobs"]) == (True, None, None)
    assert taken["evidence"] == "D"
