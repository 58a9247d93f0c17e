"""The command: what is asked, of whom, and what is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import GateRefused, SettingsError
from spanloop.replay.run import choose_states, replay
from spanloop.replay.settings import ReplayConfig
from tests.logged import publish
from tests.unit.spanloop.replay.conversations import attempt
from tests.unit.spanloop.replay.test_asking import answering


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the report; without the command line, narration stands before it."""
    out = capsys.readouterr().out
    report: dict[str, Any] = json.loads(out[out.index("{\n") :])
    return report


def completion(message: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}}


def test_a_report_holds_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a candidate by address: one that says a number at once, and is right in half of it."""
    rows = [row for task in range(10) for row in attempt(f"t{task}", "1+1", "2", "2", outcome=float(task < 5))]
    data = publish(tmp_path, rows)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Answer at once.")
    with answering((200, completion({"content": "2"}))) as (url, asked):
        config = ReplayConfig(data=data, candidate=url, candidate_model="m", prompt=prompt, concurrency=1)
        replay(config=config, as_json=True)

    report = printed(capsys)
    found = report["comparison"]
    assert (report["num_states"], found["num_tasks"], len(asked)) == (10, 10, 10)
    assert found["candidate"]["share_whole"] == 1.0
    assert found["candidate"]["agreement"] == 0.0
    assert found["candidate"]["score"]["mean"] == found["teacher"]["score"]["mean"] == 0.5
    assert found["verdict"] == "passed"
    kept = json.loads((data / "replays" / f"{report['run_id']}.json").read_bytes())
    assert kept["comparison"] == found
    changes = [state["after"] - state["before"] for state in kept["states"]]
    assert changes == sorted(changes)
    assert (len(changes), kept["states"][0]["end"]) == (10, "answered")
    assert asked[0]["body"]["messages"][0] == {"role": "system", "content": "Answer at once."}


def test_a_rehearsal_asks_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how much there is to ask."""
    config = ReplayConfig(data=publish(tmp_path, attempt("a", "1", "1", "1")), candidate="http://127.0.0.1:9/v1")

    replay(config=config, dry_run=True, as_json=True)

    assert printed(capsys)["num_states"] == 1


def test_what_cannot_be_asked_is_said_before_anybody_is(tmp_path: Path) -> None:
    """An empty prompt, two ways to score, a hold-out without a state."""
    data = publish(tmp_path, attempt("a", "1", "1", "1", split="train"))
    (tmp_path / "empty.txt").write_text(" ")
    with pytest.raises(GateRefused, match="heldout"):
        choose_states(ReplayConfig(data=data, candidate="x"))
    with pytest.raises(SettingsError, match="is empty"):
        replay(config=ReplayConfig(data=data, candidate="x", split="all", prompt=tmp_path / "empty.txt"))
    with pytest.raises(SettingsError, match="both say"):
        replay(config=ReplayConfig(data=data, candidate="x", split="all", reward_sql=tmp_path, judge="http://j/v1"))
    with pytest.raises(SettingsError, match="no directory"):
        replay(config=ReplayConfig(data=data, candidate=str(tmp_path / "nowhere"), split="all"))


def test_a_candidate_is_named_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a table for people: brackets in a name are no markup of ours."""
    data = publish(tmp_path, [row for task in range(2) for row in attempt(f"t{task}", "1+1", "2", "2", outcome=1.0)])
    with answering((200, completion({"content": "2"}))) as (url, _):
        replay(config=ReplayConfig(data=data, candidate=url, candidate_model="[/m]", concurrency=1))

    assert "[/m]" in capsys.readouterr().out
