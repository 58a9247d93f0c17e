"""What an engine is started with for a checkpoint, and that none is left behind that does not serve."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from serve.engines.engine import EngineFailed
from serve.engines.upstream import UpstreamEngine
from serve.engines.vllm import VllmEngine
from serve.settings import ServeConfig
from serve.starting import EngineStarter
from tests.fakes import byte_tokenizer


class Recorded:
    """An engine that only remembers what was asked of it."""

    made: "list[Recorded]"
    fails_at = ""

    def __init__(self, model: Path, name: str, log: Path, arguments: Sequence[str] = ()) -> None:
        self.model, self.name, self.log, self.arguments = model, name, log, arguments
        self.max_adapter_rank = 0
        self.did: list[tuple[Any, ...]] = []
        self.made.append(self)

    def _do(self, *what: Any) -> None:
        self.did.append(what)
        if what[0] == self.fails_at:
            raise EngineFailed(f"it does not {what[0]}")

    async def start(self, timeout_s: float) -> None:
        self._do("start", timeout_s)

    async def add(self, checkpoint: Path, name: str) -> None:
        self._do("add", checkpoint, name)

    async def stop(self) -> None:
        self._do("stop")


@pytest.fixture(autouse=True)
def _nothing_made_yet() -> None:
    Recorded.made = []
    Recorded.fails_at = ""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    byte_tokenizer(path)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"r": 24, "base_model_name_or_path": str(base)}))
    (path / "adapter_model.safetensors").write_bytes(b"factors")
    return path


def starter(tmp_path: Path, *arguments: str, kind: Any = Recorded, **settings: Any) -> EngineStarter:
    one = EngineStarter(ServeConfig(data=tmp_path, engine="embedded", **settings), "agent", arguments)
    one.kind = kind
    return one


def test_a_whole_model_is_started_as_it_is(tmp_path: Path, base: Path) -> None:
    """Under the name agents know, with its log below DATA and what the user added."""
    serving = asyncio.run(starter(tmp_path, "--x", "1", start_timeout_s=7).open(base, "canary.log"))

    (engine,) = Recorded.made
    assert engine.did == [("start", 7)]
    assert (engine.model, engine.name, engine.arguments) == (base, "agent", ("--x", "1"))
    assert engine.log == tmp_path / "serve" / "canary.log"
    assert serving.model == "agent"
    assert serving.policy.version is not None
    assert serving.policy.version.startswith("base-")


def test_an_adapter_is_added_to_its_base_under_a_name_of_its_own(tmp_path: Path, base: Path, adapter: Path) -> None:
    """The name says which version: what a prefix cache holds of another is not taken for its own."""
    serving = asyncio.run(starter(tmp_path).open(adapter, "engine.log"))

    (engine,) = Recorded.made
    assert engine.model == base.resolve()
    assert engine.did[1:] == [("add", adapter, serving.model)]
    assert serving.model == f"agent+{serving.policy.version}"
    assert serving.policy.base is not None
    assert serving.policy.base.startswith("base-")


@pytest.mark.parametrize(("setting", "expected"), [(16, 24), (64, 64)])
def test_room_is_left_for_adapters_to_come(tmp_path: Path, adapter: Path, setting: int, expected: int) -> None:
    """That of the setting, but never less than the first one needs."""
    asyncio.run(starter(tmp_path, max_adapter_rank=setting).open(adapter, "engine.log"))

    assert Recorded.made[0].max_adapter_rank == expected


@pytest.mark.parametrize("step", ["start", "add"])
def test_an_engine_that_fails_on_the_way_is_stopped(tmp_path: Path, adapter: Path, step: str) -> None:
    """It would hold memory and a socket the next one needs; why it failed is what is raised."""
    Recorded.fails_at = step

    with pytest.raises(EngineFailed, match=f"does not {step}"):
        asyncio.run(starter(tmp_path).open(adapter, "engine.log"))

    assert Recorded.made[0].did[-1] == ("stop",)


def test_a_start_that_is_called_off_leaves_no_engine(tmp_path: Path, base: Path) -> None:
    """As by a signal in the middle of it."""

    class Slow(Recorded):
        async def start(self, timeout_s: float) -> None:
            self._do("start", timeout_s)
            await asyncio.Event().wait()

    async def main() -> None:
        opening = asyncio.create_task(starter(tmp_path, kind=Slow).open(base, "engine.log"))
        while not (Recorded.made and Recorded.made[0].did):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(main())
    assert [what for what, *_ in Recorded.made[0].did] == ["start", "stop"]


def test_vllm_is_told_where_media_may_come_from_before_what_the_user_adds(tmp_path: Path, base: Path) -> None:
    """The last word is the user's; an engine that reads no media is not told."""
    settings = {"allowed_media_domains": ("a.example", "b.example")}
    vllm = starter(tmp_path, "--x", kind=VllmEngine, **settings)._make_engine(base, tmp_path / "log", 0)
    other = starter(tmp_path, "--x", **settings)._make_engine(base, tmp_path / "log", 0)

    command = vllm.command()
    place = command.index("--allowed-media-domains")
    assert command[place + 1 : place + 3] == ["a.example", "b.example"]
    assert command.index("--x") > place
    assert other.arguments == ("--x",)  # type: ignore[attr-defined]


def test_replicas_elsewhere_are_given_no_process(tmp_path: Path, base: Path) -> None:
    """Whatever settings there are of one that is started here."""
    config = ServeConfig(data=tmp_path, upstream=("http://replica:8000",))

    engine = EngineStarter(config, "agent", ("--x",))._make_engine(base, tmp_path / "log", 8)

    assert isinstance(engine, UpstreamEngine)
