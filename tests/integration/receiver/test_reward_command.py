"""`spanloop reward` against a running receiver, with keys and without."""

from pathlib import Path

import pytest

from foundation.web.keys import Scope, create_key
from receiver.schema import connect
from tests.commands import spanloop
from tests.integration.receiver.processes import running

pytestmark = pytest.mark.integration

TRACE = "ab" * 16


def test_a_reward_given_in_a_shell_is_an_evaluation_event(tmp_path: Path) -> None:
    """It needs a running receiver, tells what is wrong with a trace id, and a key where one is asked for."""
    data = tmp_path / "data"
    absent = spanloop("reward", TRACE, "1.0", "--data", str(data))
    assert (absent.returncode, "no receiver runs" in absent.stderr) == (75, True)
    with running(data) as receiver:
        given = spanloop("reward", TRACE, "-0.5", "--data", str(data), "--name", "tone", "--label", "rude")
        assert given.returncode == 0, given.stderr
        by_answer = spanloop("reward", "0.25", "--response-id", "chatcmpl-1", "--data", str(data))
        assert by_answer.returncode == 0, by_answer.stderr
        empty = spanloop("reward", TRACE, "--data", str(data))
        assert (empty.returncode, "no value" in empty.stderr) == (2, True)
        wrong = spanloop("reward", "xyz", "1", "--data", str(data))
        assert (wrong.returncode, "trace_id" in wrong.stderr) == (2, True)
        create_key(data, name="agents", project="p", scopes=[Scope.INGEST])
        keyless = spanloop("reward", TRACE, "1", "--endpoint", receiver.http)
        assert (keyless.returncode, "SPANLOOP_API_KEY" in keyless.stderr) == (2, True)

    reader = connect(data)
    rows = reader.query(
        """
        select trace_id, event_name, attributes->>'$."gen_ai.evaluation.score.value"' as value,
            attributes->>'$."gen_ai.evaluation.score.label"' as label,
            attributes->>'$."gen_ai.response.id"' as response_id
        from log_records
        order by value
        """
    )
    reader.close()
    event = {"event_name": "gen_ai.evaluation.result"}
    assert rows.to_pylist() == [
        {**event, "trace_id": TRACE, "value": "-0.5", "label": "rude", "response_id": None},
        {**event, "trace_id": None, "value": "0.25", "label": None, "response_id": "chatcmpl-1"},
    ]
