"""Prompts through a whole gateway: a command changes what its agents are answered under while it runs."""

import time
from pathlib import Path

import pytest

from otel_exporter.schema import ANSWERED_BY, HANDOVER_ARM, PROMPT_NAME, PROMPT_VERSION
from serve.change.control import ask_running
from tests.commands import spanloop
from tests.fakes import tiny_model
from tests.model_server import model_server
from tests.served import serving
from tests.serving import collector

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(600)]

OWN = [{"role": "system", "content": "Be kind on Monday."}, {"role": "user", "content": "hi"}]


def wait_for_the_student(data: Path) -> None:
    """Wait until the engine answers: until then the hosted model does, always under the same id."""
    deadline = time.monotonic() + 120
    while not (ask_running(data, "status", {}) or {}).get("is_ready"):
        assert time.monotonic() < deadline, "the engine never came"
        time.sleep(0.1)


def test_a_version_is_in_force_when_its_command_returns(tmp_path: Path) -> None:
    """Kept, promoted, tried, rolled back; a conversation keeps its own through a restart; users are handed over."""
    data, base, better = tmp_path / "data", tmp_path / "base.txt", tmp_path / "better.txt"
    base.write_text("Be kind on {{day}}.\n")
    better.write_text("On {{day}}, be kinder.\n")
    agent = ("--agent", "solver", "--data", data)
    begun = [*OWN, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and?"}]
    with collector() as received, model_server() as hosted:
        own = ["--model", str(tiny_model(tmp_path / "base")), "--engine", "embedded", "--name", "base"]
        own += ["--fallback", hosted.url, "--fallback-model", "big-1"]
        with serving(data, *own, collector=received) as served:
            assert served.ask(messages=OWN, max_tokens=2)[1].get("x-spanloop-prompt-version") is None
            for command in (("keep", better, "--base", base), ("promote", "1")):
                done = spanloop("prompts", *command, *agent)
                assert done.returncode == 0, done.stderr
            assert "in force" in done.stderr
            _, headers = served.ask(messages=OWN, max_tokens=2)
            assert headers["x-spanloop-prompt-version"] == "1"
            assert spanloop("prompts", "rollback", *agent).returncode == 0
            assert served.ask(messages=begun, max_tokens=2)[1]["x-spanloop-prompt-version"] == "1"
            done = spanloop("serve", "handover", "--data", data, "--share", "0.999")
            assert done.returncode == 0, done.stderr
            assert spanloop("prompts", "canary", "1", *agent, "--share", "0.5").returncode == 0
            shown = spanloop("serve", "status", "--data", data).stdout
            assert "solver under version 0" in shown
            assert "0.999 of the users to the student" in shown
        with serving(data, *own, collector=received) as served:
            wait_for_the_student(data)
            last, headers = served.ask(messages=begun, max_tokens=2)
            assert headers["x-spanloop-prompt-version"] == "1"
            span = served.span_of(last["id"])
            assert (span[PROMPT_NAME], span[PROMPT_VERSION]) == ("solver", "1")
            assert "On Monday, be kinder." in span["gen_ai.input.messages"]
            assert {HANDOVER_ARM, ANSWERED_BY} <= set(span)
