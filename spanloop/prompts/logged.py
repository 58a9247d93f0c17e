"""Logged states of an agent by the prompt they were asked under, and the same states under another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundation.errors import GateRefused, SettingsError
from serve.prompts.schema import AS_SENT, AgentPrompt, Template
from spanloop.replay.states import State

SYSTEM = ("system", "developer")
"""Roles of a message that the agent's author wrote."""


@dataclass(frozen=True)
class Case:
    """A state, and what stood in the holes of its prompt."""

    state: State
    fillings: dict[str, str]
    is_live: bool
    """It was asked under the live version: what was logged is what that earns."""

    def under(self, prompt: Template) -> State:
        """Return the state as it would be asked under another prompt."""
        first, *rest = self.state.messages
        return replace(self.state, messages=[{**first, "text": prompt.fill(self.fillings)}, *rest])


def system_of(state: State) -> str | None:
    """Return the system message of a state; None where it has none."""
    first = state.messages[0]
    text = first.get("text")
    return text if first.get("role") in SYSTEM and isinstance(text, str) else None


def find_base(states: Sequence[State], agent: str) -> str:
    """Return the one system message that all calls of an agent have, or say how many there are."""
    found = Counter(text for state in states if (text := system_of(state)) is not None)
    if not found:
        raise GateRefused(f"no logged state of {agent} begins with a system message", hint="It has no prompt.")
    if len(found) > 1:
        raise SettingsError(
            f"{agent} was logged with {len(found)} system messages",
            hint="Write the one it sends into a file, {{name}} where it changes from call to call: --base FILE.",
        )
    return next(iter(found))


def cases_of(states: Sequence[State], kept: AgentPrompt, texts: dict[int, Template]) -> list[Case]:
    """Return the states whose message is the agent's, under whichever version they were asked; others are left out."""
    wanted = set(texts[AS_SENT].holes)
    found = []
    for state in states:
        message = system_of(state)
        matches = {} if message is None else {number: text.match(message) for number, text in texts.items()}
        # The closest: what a version adds might stand in a hole of another.
        fitting = [(number, each) for number, each in matches.items() if each is not None and wanted <= set(each)]
        if fitting:
            number, fillings = min(fitting, key=lambda each: (sum(map(len, each[1].values())), each[0] != kept.live))
            found.append(Case(state, fillings, number == kept.live))
    return found
