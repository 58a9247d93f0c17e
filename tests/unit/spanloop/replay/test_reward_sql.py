"""Reward queries over replays."""

from pathlib import Path

import pytest

from foundation.errors import GateRefused, SettingsError
from spanloop.replay.reward_sql import by_sql
from spanloop.replay.states import read_states
from spanloop.replay.trial import attempt as try_on
from spanloop.replay.trial import recorded
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import Scripted, attempt

SAID = """
select trace_id, 'outcome' as name, max((attributes ->> '$."gen_ai.output.messages"') like '%"content": "5"%') as value
from spans where attributes ->> '$."gen_ai.operation.name"' = 'chat' group by trace_id
"""


def queries(place: Path, sql: str) -> Path:
    place.mkdir()
    (place / "reward.sql").write_text(sql)
    return place


def test_both_sides_are_scored_by_the_same_query(tmp_path: Path) -> None:
    """What was recorded is written as the replay is, so one query reads both."""
    data = publish(tmp_path, attempt("2 and 3", "2+3", "5", "5") + attempt("2 by 3", "2+3", "5", "6"))
    states = sorted(read_states(data), key=lambda state: state.episode_id)
    score = by_sql(queries(tmp_path / "sql", SAID), data)
    candidate = Scripted({"2 and 3": "2*3", "2 by 3": "2+3"})

    assert recorded(states, score).scores == [1.0, 0.0]
    assert try_on(states, candidate, score).scores == [0.0, 1.0]


def test_a_query_that_does_not_fit_says_so(tmp_path: Path) -> None:
    """Nothing there, nothing found, not SQL, files."""
    data = publish(tmp_path, attempt("a", "2+3", "5", "5"))
    states = read_states(data)
    with pytest.raises(SettingsError, match=r"no \*.sql file"):
        by_sql(tmp_path, data)
    for number, (sql, error) in enumerate(
        [
            ("select trace_id, 'outcome' as name, 1 as value from spans where false", GateRefused),
            ("select nonsense", SettingsError),
            (
                "select content as trace_id, 'outcome' as name, 1 as value from read_text('/etc/hostname')",
                SettingsError,
            ),
            ("select trace_id, unnest(['a', 'b']) as name, 1 as value from spans", SettingsError),
        ]
    ):
        with pytest.raises(error):
            recorded(states, by_sql(queries(tmp_path / f"sql{number}", sql), data))
