"""One process, order after order: what an agent needs is opened once, and anew when it no longer works."""

import asyncio
import io
import json
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.attempts import Grade, open_telemetry
from examples.orders import Playing, Stage, arguments, choose, find_faults, main


@dataclass(frozen=True)
class Sum:
    id: str
    split: str = "train"
    cluster: str = ""


@dataclass
class Sums:
    """An agent whose tool server is a name in a list while it is open."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    dies_on: str = ""
    is_dead: bool = False

    def tasks(self, options: Namespace) -> Sequence[Sum]:  # noqa: ARG002 - the protocol has it
        return [Sum("one"), Sum("two")]

    @asynccontextmanager
    async def playing(self, options: Namespace) -> AsyncIterator[Playing]:
        name = f"{len(self.opened)} at {options.temperature:g}"
        self.opened.append(name)
        self.is_dead = False

        async def play(task: Sum) -> Grade:
            self.is_dead |= task.id == self.dies_on
            return Grade(float(not self.is_dead))

        async def is_sound() -> bool:
            if self.is_dead:
                raise ConnectionError
            return True

        yield Playing(play, is_sound)
        self.closed.append(name)


def obey(agent: Sums, monkeypatch: pytest.MonkeyPatch, *orders: dict[str, object]) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(json.dumps(order) + "\n" for order in orders)))
    monkeypatch.setattr("sys.argv", ["collect", "--datasets", "x", "--orders", "--timeout-s", "5"])
    return main(agent, arguments(""), open_telemetry("sums", InMemorySpanExporter()))


def test_orders_come_one_after_the_other_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the agent needs is opened once for all of them."""
    agent = Sums()
    orders = [{"episodes": 1, "seed": seed, "output": str(tmp_path / f"{seed}.jsonl")} for seed in (1, 2)]

    status = obey(agent, monkeypatch, *orders)

    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["episodes"] for one in said] == [1, 1]
    assert status == 0
    assert (tmp_path / "2.jsonl").exists()
    assert agent.opened == agent.closed == ["0 at 1"]


def test_options_that_concern_the_agent_open_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the questions do not."""
    agent = Sums()

    obey(agent, monkeypatch, {"measure": True}, {"temperature": 0.0}, {"temperature": 0.0, "split": "dev"}, {})

    assert agent.opened == agent.closed == ["0 at 1", "1 at 0", "2 at 1"]


def test_what_no_longer_works_is_opened_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dead tool server costs the attempts of its order."""
    agent = Sums(dies_on="two")

    obey(agent, monkeypatch, {"concurrency": 1}, {"episodes": 1, "concurrency": 1})

    assert agent.opened == ["0 at 1", "1 at 1"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_framework_that_cancels_the_task_it_was_opened_in_ends_no_order(capsys: pytest.CaptureFixture[str]) -> None:
    """As MCP's clients do when their server dies."""
    hosts: list[asyncio.Task[None]] = []

    class Cancelling(Sums):
        @asynccontextmanager
        async def playing(self, options: Namespace) -> AsyncIterator[Playing]:
            host = asyncio.current_task()
            assert host is not None
            hosts.append(host)
            async with super().playing(options) as playing:
                yield playing

    async def use() -> None:
        agent = Cancelling()
        stage = Stage(agent)
        options = arguments("").parse_args(["--datasets", "x"])
        for number in range(2):
            play = await stage.play(options)
            assert await play(Sum("one")) == Grade(1.0)
            hosts[number].cancel()
            await asyncio.wait([hosts[number]])
        await stage.close()
        assert len(agent.opened) == 2

    asyncio.run(use())

    assert "did not close" in capsys.readouterr().err


def test_what_cannot_be_opened_says_why() -> None:
    """To whoever asked for it, not to a task nobody looks at."""

    class Broken(Sums):
        @asynccontextmanager
        async def playing(self, options: Namespace) -> AsyncIterator[Playing]:  # noqa: ARG002
            raise FileNotFoundError("no server")
            yield

    async def use() -> None:
        await Stage(Broken()).play(arguments("").parse_args(["--datasets", "x"]))

    with pytest.raises(FileNotFoundError, match="no server"):
        asyncio.run(use())


def test_the_seed_decides_the_order_and_the_end_begins_again() -> None:
    """So that window after window goes on where the last one ended."""
    order = choose(range(5), None, seed=1)

    assert sorted(order) == [0, 1, 2, 3, 4]
    assert choose(range(5), 4, seed=1, offset=3) == [order[3], order[4], order[0], order[1]]
    assert choose(range(5), 8, seed=1) == [*order, *order[:3]]
    assert choose(range(5), 8, seed=1, once=True) == order


def test_a_missing_data_set_says_how_to_come_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and no traceback."""

    class Lacking(Sums):
        def tasks(self, options: Namespace) -> Sequence[Sum]:  # noqa: ARG002 - the protocol has it
            raise FileNotFoundError("x/dev.jsonl is missing. --datasets DIR")

    monkeypatch.setattr("sys.argv", ["collect", "--datasets", str(tmp_path)])

    assert main(Lacking(), arguments(""), open_telemetry("sums", InMemorySpanExporter())) == 2
    assert "--datasets" in capsys.readouterr().err


@pytest.mark.parametrize(("num_ungraded", "is_sound"), [(0, True), (8, True), (9, False)])
def test_a_few_attempts_may_fail_at_the_endpoint(num_ungraded: int, is_sound: bool) -> None:
    """They teach nothing, and cost none of the others; of one in fifty the rest is still a fair sample."""
    summary = {"episodes": 400, "ungraded": num_ungraded, "errors": {}, "spans": 9, "spans_exported": 9}

    assert (find_faults(summary) == []) is is_sound
