"""A canary on a running gateway, judged by what a real receiver has stored: gone when worse, live when not."""

import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus
from serve.change.registry import read_audit
from serve.schema import read_registry
from tests.commands import spanloop
from tests.fakes import tiny_model
from tests.integration.receiver.processes import Receiver, start
from tests.served import Served, serving
from tests.serving import tiny_checkpoint
from train.schema import model_version

pytestmark = [pytest.mark.integration, pytest.mark.long]

USER = [{"role": "user", "content": "hello"}]


@dataclass
class Endpoint:
    endpoint: str


@dataclass
class World:
    """A gateway whose spans go to a receiver, and users who say how happy they are with a version's answers."""

    served: Served
    receiver: Receiver

    def ask(self, user: str) -> str:
        """Let a user ask once, in a trace of its own; return trace id and the version that answered."""
        trace_id = secrets.token_hex(16)
        body = json.dumps({"model": "base:live", "messages": USER, "max_tokens": 2, "user": user}).encode()
        headers = {"Content-Type": "application/json", "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
        request = urllib.request.Request(f"{self.served.url}/v1/chat/completions", body, headers)
        with urllib.request.urlopen(request) as response:
            version = response.headers["x-spanloop-policy-version"]
            response.read()
        self._asked = trace_id
        return str(version)

    def reward(self, value: float) -> None:
        """Judge the last call."""
        body = json.dumps({"trace_id": self._asked, "name": "outcome", "value": value}).encode()
        status, _, answer = self.receiver.post("/v1/rewards", body, Content_Type="application/json")
        assert status < 300, answer

    def live(self, happy: dict[str, float], users: range) -> set[str]:
        """Let every user ask once and be happy with a version that often (evenly spread); return who had a canary."""
        registry = read_registry(self.served.data)
        assert registry is not None
        seen: dict[str, int] = {}
        had = set()
        for user in users:
            version = self.ask(f"user-{user}")
            number = seen[version] = seen.get(version, 0) + 1
            rate = happy[version]
            self.reward(float(int(number * rate) > int((number - 1) * rate)))
            if version != registry.live_version:
                had.add(f"user-{user}")
        return had

    def registry(self) -> Any:
        return read_registry(self.served.data)

    def last_action(self) -> str:
        """Return what the trail ends with: it is written after the registry."""
        return str(read_audit(self.served.data)[-1]["action"])

    def versions(self, users: range) -> set[str]:
        """Return who answers these users: a moment after the trail says so."""
        return {self.ask(f"user-{user}") for user in users}

    def wait(self, condition: Any, what: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.served.log.read_text()[-3000:]}"
            time.sleep(0.1)

    def canary(self, checkpoint: Path, *arguments: str) -> Any:
        return spanloop("serve", "canary", "--data", str(self.served.data), str(checkpoint), *arguments)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("canary")
    model = tiny_model(root / "base", seed=0)
    receiver = start(root / "data")
    arguments = ["--model", str(model), "--engine", "embedded", "--canary-interval-s", "0.3"]
    try:
        with serving(root / "data", *arguments, collector=Endpoint(f"http://{receiver.grpc}")) as one:
            yield World(one, receiver)
    finally:
        receiver.kill()


def test_a_worse_canary_is_rolled_back(world: World, tmp_path: Path) -> None:
    """Its users are far less happy: its share is taken away, with the reason in the trail; the live model stays."""
    before = world.registry()
    bad = tiny_checkpoint(tmp_path / "bad", seed=31)

    started = world.canary(bad, "--share", "0.5", "--shares", "0.5", "--units", "100000", "--json")
    assert started.returncode == 0, started.stderr
    assert world.registry().canary.version == model_version(bad)
    again, other = world.canary(bad), world.canary(tiny_checkpoint(tmp_path / "other", seed=30))
    assert (again.returncode, other.returncode) == (0, ExitStatus.BUSY)
    had = world.live({before.live_version: 0.9, model_version(bad): 0.1}, range(160))
    world.wait(lambda: world.last_action() == "canary_rollback", "the canary is rolled back")

    assert 0 < len(had) < 140
    assert world.registry().live_version == before.live_version
    start_line, end_line = read_audit(world.served.data)[-2:]
    assert (start_line["action"], start_line["canary"], start_line["share"]) == (
        "canary_start",
        model_version(bad),
        0.5,
    )
    assert end_line["action"] == "canary_rollback"
    assert end_line["reason"].startswith("worse than the live model: reward 0.")
    world.wait(lambda: world.versions(range(10)) == {before.live_version}, "all calls are the live model's")


def test_a_canary_that_is_not_worse_goes_live_step_by_step(world: World, tmp_path: Path) -> None:
    """Share by share; whoever had it keeps it; status shows counts and interval; a restart forgets nothing."""
    before = world.registry()
    good = tiny_checkpoint(tmp_path / "good", seed=32)
    happy = {before.live_version: 0.6, model_version(good): 0.7}

    assert world.canary(good, "--shares", "0.3,0.6", "--units", "12").returncode == 0
    first = world.live(happy, range(24))
    status = json.loads(spanloop("serve", "status", "--data", str(world.served.data), "--json").stdout)["canary"]
    assert status["version"] == model_version(good)
    assert status["is_serving"]
    assert set(status["metrics"]) == {"reward", "errors", "unparsed", "slow"}
    users = 24
    while world.registry().canary is not None and world.registry().canary.share == 0.3:
        first |= world.live(happy, range(users, users := users + 12))
        assert users < 400
        time.sleep(0.3)
    again = {user for user in sorted(first) if world.ask(user) == model_version(good)}
    assert again == first
    while world.last_action() != "promote":
        world.live(happy, range(users, users := users + 12))
        assert users < 800
        time.sleep(0.3)

    after = world.registry()
    assert (after.live_version, after.previous[-1]) == (model_version(good), before.live)
    actions = [line["action"] for line in read_audit(world.served.data)][-3:]
    assert actions == ["canary_start", "canary_widen", "promote"]
    world.wait(lambda: world.versions(range(10)) == {model_version(good)}, "all calls are the new model's")
    assert spanloop("serve", "rollback", "--data", str(world.served.data)).returncode == 0
    assert world.versions(range(10)) == {before.live_version}


def test_a_canary_survives_the_gateway(world: World, tmp_path: Path) -> None:
    """Killed and started again it gives the same users the same arm; by hand it is promoted at once, or ended."""
    before = world.registry()
    one = tiny_checkpoint(tmp_path / "one", seed=33)
    assert world.canary(one, "--share", "0.4", "--hold").returncode == 0
    arms = {user: world.ask(f"user-{user}") for user in range(30)}
    assert set(arms.values()) == {before.live_version, model_version(one)}

    served = world.served
    served.process.kill()
    served.process.wait()
    with serving(served.data, "--engine", "embedded", collector=served.collector) as again:
        world.served = again
        world.wait(lambda: {user: world.ask(f"user-{user}") for user in range(30)} == arms, "the arms are as before")
        status = json.loads(spanloop("serve", "status", "--data", str(again.data), "--json").stdout)
        assert status["canary"]["share"] == 0.4
        promoted = spanloop("serve", "promote", "--data", str(again.data), str(one))
        assert promoted.returncode == 0, promoted.stderr
        assert world.versions(range(30)) == {model_version(one)}
        assert world.registry().canary is None
        assert spanloop("serve", "rollback", "--data", str(again.data)).returncode == 0

        assert world.canary(one, "--share", "0.4").returncode == 0
        ended = spanloop("serve", "rollback", "--data", str(again.data))
        assert ended.returncode == 0, ended.stderr
        assert read_audit(again.data)[-1]["action"] == "canary_rollback"
        assert world.versions(range(30)) == {before.live_version}
