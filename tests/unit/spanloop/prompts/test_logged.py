"""Logged states by the prompt they were asked under."""

from dataclasses import replace

import pytest

from foundation.errors import GateRefused, SettingsError
from serve.prompts.schema import AgentPrompt, Template
from spanloop.prompts.logged import cases_of, find_base
from spanloop.replay.states import State

STATE = State("p", "e", "t", "a", "k", "train", [], None, [], None, {}, {}, None, "D")
USER = {"role": "user", "text": "hi"}


def state(system: str | None) -> State:
    return replace(STATE, messages=[*([{"role": "system", "text": system}] if system is not None else []), USER])


def test_states_are_known_by_the_version_they_were_asked_under() -> None:
    """The live one's are told apart, every other is asked anew with what stood in its holes, strangers are left out."""
    kept = AgentPrompt(agent="a", base="Hi, {{day}}.", is_template=True, newest=2, live=2, changed_time="")
    texts = {0: Template("Hi, {{day}}."), 1: Template("No day."), 2: Template("{{day}}: hi!")}
    logged = [state("Hi, Monday."), state("Friday: hi!"), state("No day."), state("Bye."), state(None)]

    first, second = cases_of(logged, kept, texts)

    assert (first.is_live, second.is_live) == (False, True)
    assert first.under(texts[2]).messages == [{"role": "system", "text": "Monday: hi!"}, USER]
    assert first.state.messages[0]["text"] == "Hi, Monday."


def test_what_a_version_adds_is_no_filling_of_another() -> None:
    """A state asked under `Hi, {{day}}. Be kind.` was not asked under `Hi, {{day}}.` on a day of that name."""
    kept = AgentPrompt(agent="a", base="Hi, {{day}}.", is_template=True, newest=1, live=0, changed_time="")
    texts = {0: Template("Hi, {{day}}."), 1: Template("Hi, {{day}}. Be kind.")}
    first, second = cases_of([state("Hi, Monday. Be kind."), state("Hi, Monday.")], kept, texts)
    assert (first.is_live, first.fillings) == (False, {"day": "Monday"})
    assert second.is_live


def test_the_base_is_what_all_calls_have_or_has_to_be_said() -> None:
    """Several messages, or none, are no base."""
    assert find_base([state("a"), state(None), state("a")], "x") == "a"
    with pytest.raises(SettingsError, match="2 system messages"):
        find_base([state("a"), state("b")], "x")
    with pytest.raises(GateRefused, match="no logged state"):
        find_base([state(None)], "x")
