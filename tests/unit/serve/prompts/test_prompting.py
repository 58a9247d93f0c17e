"""Which version a call is answered under."""

from pathlib import Path
from typing import Any

from serve.canary.verdict import begin
from serve.prompts import registry
from serve.prompts.loading import leave, load, open_prompting
from serve.prompts.places import read_system
from serve.prompts.prompting import Prompting
from serve.settings import CanaryConfig

BASE = "Today is {{day}}. Be kind."
ASKED = {"role": "user", "content": "hi"}
ANSWERED = {"role": "assistant", "content": "hello"}


def chat(*turns: dict[str, Any], system: str = "Today is Monday. Be kind.") -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": system}, *(turns or (ASKED,))]}


def under(
    prompting: Prompting,
    request: dict[str, Any],
    *,
    agent: str | None = None,
    user: str | None = None,
    episode: str | None = None,
) -> tuple[str | None, str | None]:
    """Return message and version a call is answered with."""
    unit = f"user:{user}".encode()
    changed, use = prompting.apply(request, agent=agent, unit=unit, episode=episode, user=user)
    return read_system(changed), None if use is None else f"{use.name}/{use.version}"


def kept(data: Path) -> Prompting:
    registry.keep(data, "solver", "On {{day}} be kinder.", base=BASE)
    registry.keep(data, "writer", "Write well.", base="Write.")
    registry.promote(data, "solver", 1)
    return open_prompting(data)


def test_a_message_is_replaced_where_it_is_the_agents_to_the_letter(tmp_path: Path) -> None:
    """With its day in the new one; every other message goes on as it is, and calls with it are counted."""
    prompting = kept(tmp_path)
    assert under(prompting, chat()) == ("On Monday be kinder.", "solver/1")
    assert under(prompting, chat(system="Write.")) == ("Write.", "writer/0")
    assert under(prompting, chat(system="Write.\n")) == ("Write.\n", None)
    assert under(prompting, chat(), agent="writer") == ("Today is Monday. Be kind.", None)
    assert under(prompting, chat(), agent="solver") == ("On Monday be kinder.", "solver/1")
    assert under(prompting, {"messages": [ASKED]}, agent="solver") == (None, None)
    assert prompting.num_unknown == {"writer": 1, "solver": 1}


def test_a_message_of_two_agents_is_nobodys_unless_one_is_named(tmp_path: Path) -> None:
    """Guessing would answer one under the other's prompt."""
    kept(tmp_path)
    registry.keep(tmp_path, "editor", "Edit.", base="Write.")
    registry.promote(tmp_path, "editor", 1)
    prompting = open_prompting(tmp_path)
    assert under(prompting, chat(system="Write.")) == ("Write.", None)
    assert under(prompting, chat(system="Write."), agent="editor") == ("Edit.", "editor/1")


def test_a_conversation_that_began_keeps_its_version(tmp_path: Path) -> None:
    """Also past midnight, and when the gateway is started anew; one that begins has what is live."""
    prompting = kept(tmp_path)
    assert under(prompting, chat(), user="ada")[1] == "solver/1"
    registry.rollback(tmp_path, "solver")
    prompting.take(load(tmp_path))
    later = chat(ASKED, ANSWERED, ASKED, system="Today is Tuesday. Be kind.")
    assert under(prompting, later, user="ada") == ("On Tuesday be kinder.", "solver/1")
    leave(tmp_path, prompting)
    again = open_prompting(tmp_path)
    assert under(again, later, user="ada") == ("On Tuesday be kinder.", "solver/1")
    assert under(again, later, user="eve")[1] == "solver/0"
    assert under(again, chat(), user="ada")[1] == "solver/0"


def test_an_episode_keeps_its_version_from_its_first_call_on(tmp_path: Path) -> None:
    """Its other conversations begin under the same."""
    prompting = kept(tmp_path)
    assert under(prompting, chat(), episode="e1")[1] == "solver/1"
    registry.promote(tmp_path, "solver", 0)
    prompting.take(load(tmp_path))
    assert under(prompting, chat({"role": "user", "content": "else"}), episode="e1")[1] == "solver/1"
    assert under(prompting, chat(), episode="e2")[1] == "solver/0"


def test_a_canary_has_always_the_same_users(tmp_path: Path) -> None:
    """As many as its share says, and those keep it as the share grows."""
    prompting = kept(tmp_path)
    registry.keep(tmp_path, "solver", "Be kindest.")
    trial = begin(tmp_path, "2", CanaryConfig(share=0.3), slow_s=None)
    registry.start_canary(tmp_path, "solver", 2, trial)
    prompting.take(load(tmp_path))
    users = [f"user-{number}" for number in range(300)]
    first = {user for user in users if under(prompting, chat(), user=user)[1] == "solver/2"}
    assert 60 < len(first) < 120
    registry.widen_canary(tmp_path, "solver", 0.6, "r")
    prompting.take(load(tmp_path))
    assert first < {user for user in users if under(prompting, chat(), user=user)[1] == "solver/2"}
    _, use = prompting.apply(chat(), agent=None, unit=b"user:user-1", episode=None, user="user-1")
    assert use is not None
    assert use.arm in ("live", "canary")
    assert use.unit is not None
    assert "user" not in use.unit
