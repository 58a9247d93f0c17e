"""Rewards that name no trace: the trace they stand in is made of what they name."""

import duckdb
import polars as pl
import pytest

from etl.rewards.stand_ins import TRACE_ID, of_rows
from otel_exporter.schema import EPISODE_ID, EVALUATION_EVENT


@pytest.mark.parametrize(
    ("trace", "event", "names", "expected"),
    [
        ("abc", EVALUATION_EVENT, {"session.id": "s"}, "abc"),
        (None, EVALUATION_EVENT, {"gen_ai.response.id": "r", "session.id": "s"}, "response:r"),
        (None, EVALUATION_EVENT, {EPISODE_ID: "e", "session.id": "s"}, "episode:e"),
        (None, EVALUATION_EVENT, {"gen_ai.response.id": "", "gen_ai.conversation.id": "c"}, "session:c"),
        (None, EVALUATION_EVENT, {"session.id": "s"}, "session:s"),
        (None, EVALUATION_EVENT, {}, "response:"),
        (None, "gen_ai.choice", {"session.id": "s"}, None),
    ],
)
def test_the_most_exact_name_is_where_a_reward_stands(
    trace: str | None, event: str, names: dict[str, str], expected: str | None
) -> None:
    """A trace before any name, an answer before an episode before a session; what is no reward stands nowhere."""
    import json

    row = duckdb.execute(
        f"select {TRACE_ID} from (select ? as trace_id, ? as event_name, ? as attributes)",
        [trace, event, json.dumps(names)],
    ).fetchone()

    assert row == (expected,)


def test_rows_are_asked_for_by_every_name_they_have() -> None:
    """An episode's id may be its session's; what is null names nothing."""
    calls = pl.DataFrame({"project": ["p", "p"], "response_id": ["r", None]})
    episodes = pl.DataFrame({"project": ["p"], "episode_id": ["e"], "session_id": ["s"]})

    assert of_rows(calls, episodes) == {
        ("p", "response:r"), ("p", "episode:e"), ("p", "episode:s"), ("p", "session:s"),
    }  # fmt: skip
