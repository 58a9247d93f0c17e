"""The command, over real HTTP: what is kept, what is promoted, what is refused."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import GateRefused, SettingsError
from serve import prompts_cli
from serve.prompts.registry import require
from serve.prompts.schema import read_version
from serve.prompts.settings import KeepConfig, PromptConfig
from spanloop.processes import stages_run_by
from spanloop.prompts.optimise import gather, optimise
from spanloop.prompts.settings import OptimiseConfig
from tests.chat import chat_server
from tests.prompted import BASE, RIGHT, Reflecting, agent, by_worth, log_calls

pytest.importorskip("gepa")


def run_here(arguments: Any) -> dict[str, Any]:
    """Run the commands about prompts in this process."""
    verb, what, *flags = (each for each in arguments[1:] if each != "--json")
    given = dict(zip((flag.removeprefix("--") for flag in flags[::2]), flags[1::2], strict=True))
    own = {"data": Path(given.pop("data")), "agent": given.pop("agent")}
    if verb == "promote":
        prompts_cli.promote(int(what), config=PromptConfig(**own))
        return {}
    prompts_cli.keep(Path(what), config=KeepConfig.model_validate(own | given))
    return {"version": require(own["data"], own["agent"]).newest}


@contextmanager
def answering(data: Path, **settings: Any) -> Iterator[OptimiseConfig]:
    (data / "base.txt").write_text(BASE + "\n")
    with chat_server(agent) as candidate, chat_server(Reflecting([RIGHT])) as reflecting, stages_run_by(run_here):
        yield OptimiseConfig(
            data=data, agent="adder", base=data / "base.txt", candidate=candidate, candidate_model="m",
            reflect=reflecting, reflect_model="r", concurrency=1, proposals=1, **settings,
        )  # fmt: skip


def test_what_is_better_is_kept_shown_and_not_promoted_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was measured of it; asked to, it is live."""
    monkeypatch.setattr("spanloop.prompts.optimise.choose_score", lambda *_: by_worth)
    data = log_calls(tmp_path, num_tasks=10)
    with answering(data) as config:
        optimise(config=config)
        kept = require(data, "adder")
        assert (kept.newest, kept.live, kept.base) == (1, 0, BASE)
        found = read_version(data, "adder", 1)
        assert found is not None
        assert (found.text, found.origin, found.report["is_better"]) == (RIGHT, "optimise", True)
        assert "+You add numbers. Today is {{day}}. Reply with ANSWER:" in capsys.readouterr().err
    with answering(data, promote=True) as config:
        optimise(config=config)
        assert require(data, "adder").live == 2


def test_a_rehearsal_asks_nobody_and_what_is_missing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several messages without a base, too few states, no gateway."""
    data = log_calls(tmp_path, num_tasks=12)
    config = OptimiseConfig(data=data, agent="adder", reflect="http://127.0.0.1:9/v1")
    with pytest.raises(SettingsError, match="3 system messages"):
        gather(config)
    (data / "base.txt").write_text(BASE)
    config = config.model_copy(update={"base": data / "base.txt"})
    optimise(config=config, dry_run=True, as_json=True)
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{\n") :])["num_held_out"] == 12
    with pytest.raises(SettingsError, match="no gateway"):
        optimise(config=config)
    (data / "base.txt").write_text("Another message.")
    with pytest.raises(GateRefused, match="8 at least"):
        gather(config)
