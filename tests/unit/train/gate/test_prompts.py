"""Calls made under another prompt than the one in force judge no checkpoint."""

from typing import Any

from tests.logged import frame, transition
from train.gate.prompts import LATEST, under_prompts_in_force


def call(number: int, version: str | None, *, episode: str | None = None, agent: str = "solver") -> dict[str, Any]:
    return transition(
        episode_id=episode or f"e{number:04}",
        span_id=f"{number:016x}",
        start_ns=number,
        prompt_name=None if version is None else agent,
        prompt_version=version,
    )


def kept(rows: list[dict[str, Any]]) -> tuple[list[str], int]:
    found, num_left_out = under_prompts_in_force(frame(rows))
    return sorted(found["episode_id"].unique()), num_left_out


def test_episodes_under_an_earlier_version_are_left_out() -> None:
    """Whole: what another call of theirs earned was earned under it as well."""
    rows = [call(1, "0", episode="a"), call(2, "1", episode="a"), call(3, "1"), call(4, "1"), call(5, None)]
    assert kept(rows) == (["e0003", "e0004", "e0005"], 2)


def test_a_canary_is_not_what_is_in_force() -> None:
    """Its calls are the fewer of the newest, whichever came last."""
    rows = [call(number, "2" if number % 10 == 0 else "1") for number in range(1, LATEST + 1)]
    found, num_left_out = kept(rows)
    assert (len(found), num_left_out) == (90, 10)


def test_each_agent_has_its_own_and_where_nobody_names_one_all_stay() -> None:
    """An agent that calls seldom keeps what it has."""
    rows = [call(1, "3", agent="writer"), call(2, "0"), call(3, "1"), call(4, "1")]
    assert kept(rows) == (["e0001", "e0003", "e0004"], 1)
    assert kept([call(1, None), call(2, None)]) == (["e0001", "e0002"], 0)
    assert kept([]) == ([], 0)
