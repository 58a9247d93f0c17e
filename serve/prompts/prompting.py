"""Which version of a prompt a call is answered under: by its agent's message, the same to the end of a conversation.

What is answered under a version is the work of weights and prompt together, so the call is told which. A message that
is not what its agent is known to send goes on as it is.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foundation.narration import get_logger
from serve.engines.upstream import affinity_key
from serve.evidence.spans import PromptUse
from serve.prompts.places import has_begun, read_system, write_system
from serve.prompts.schema import AS_SENT, AgentPrompt
from serve.prompts.template import Template

log = get_logger("serve")

LIVE, CANARY = "live", "canary"
MAX_PINS = 65_536
"""Conversations remembered; the one unheard of longest is forgotten first."""


@dataclass(frozen=True)
class Known:
    """An agent's prompt, ready to be recognised and replaced."""

    prompt: AgentPrompt
    base: Template
    texts: Mapping[int, Template]
    """By number; version 0 is not among them."""

    def choose(self, unit: bytes) -> PromptUse:
        """Return the version of a unit: that of a canary always to the same ones, also when its share grows."""
        canary = self.prompt.canary
        if canary is None:
            return PromptUse(self.prompt.agent, str(self.prompt.live))
        hashed = hashlib.blake2b(unit, digest_size=8, key=canary.started_time.encode()[:64]).hexdigest()
        is_canary = int(hashed, 16) < canary.share * 2**64
        version = canary.version if is_canary else str(self.prompt.live)
        return PromptUse(self.prompt.agent, version, CANARY if is_canary else LIVE, hashed)


class Prompting:
    """The prompts in force, and which conversation began under which."""

    def __init__(self, known: list[Known] | None = None) -> None:
        self.num_unknown: Counter[str] = Counter()
        """Calls of agents whose message is known, with another message."""

        self._pins: OrderedDict[bytes, PromptUse] = OrderedDict()
        self.take(known or [])

    def take(self, known: list[Known]) -> None:
        """Take what is in force from now on; conversations that began go on as they began."""
        self.known = {each.prompt.agent: each for each in known}
        self._exact: dict[str, list[Known]] = {}
        for each in known:
            if not each.base.holes:
                self._exact.setdefault(each.prompt.base, []).append(each)
        self._templates = [each for each in known if each.base.holes]

    def pins(self) -> dict[str, list[str]]:
        """Return the conversations that began, as a file can hold them."""
        return {key.hex(): [use.name, use.version] for key, use in self._pins.items() if use.arm is None}

    def restore(self, pins: Mapping[str, Any]) -> None:
        """Remember conversations that began before a restart; what is no such thing is left out."""
        for key, use in list(pins.items())[-MAX_PINS:]:
            if isinstance(use, list) and len(use) == 2 and all(isinstance(each, str) for each in use):
                self._pins[bytes.fromhex(key)] = PromptUse(*use)

    def apply(
        self, request: dict[str, Any], *, agent: str | None, unit: bytes, episode: str | None, user: str | None
    ) -> tuple[dict[str, Any], PromptUse | None]:
        """Return the request under the version it is to be answered by, and which that is; null where none is known.

        `unit` is what a canary is split by. An episode keeps its version from its first call on; any other
        conversation, known by its user and how it begins, from the last call in which nobody had answered yet.
        """
        if not self.known:
            return request, None
        message = read_system(request)
        found = None if message is None else self._find(message, agent)
        if found is None:
            if agent in self.known:
                self._say_unknown(agent, is_absent=message is None)
            return request, None
        known, fillings = found
        key = _conversation(request, known.prompt.agent, episode, user)
        use = self._pins.get(key)
        if use is None or (episode is None and not has_begun(request)):
            use = known.choose(unit)
        text = known.texts.get(int(use.version))
        if text is None and use.version != str(AS_SENT):  # kept away from us since: what is live is there
            use = known.choose(unit)
            text = known.texts.get(int(use.version))
        self._pins[key] = use
        self._pins.move_to_end(key)
        if len(self._pins) > MAX_PINS:
            self._pins.popitem(last=False)
        return (request if text is None else write_system(request, text.fill(fillings))), use

    def _find(self, message: str, agent: str | None) -> tuple[Known, dict[str, str]] | None:
        """Return whose message it is; none where nobody's, or where it may be that of several."""
        exact = self._exact.get(message, [])
        found: list[tuple[Known, dict[str, str]]] = [(each, {}) for each in exact]
        found += [(each, holes) for each in self._templates if (holes := each.base.match(message)) is not None]
        if agent is not None:
            found = [each for each in found if each[0].prompt.agent == agent]
        return found[0] if len(found) == 1 else None

    def _say_unknown(self, agent: str | None, *, is_absent: bool) -> None:
        assert agent is not None, "it is among the known ones"
        self.num_unknown[agent] += 1
        if self.num_unknown[agent] == 1:
            what = "no system message" if is_absent else "another system message than is known"
            log.warning(f"an agent sends {what}: it goes on as it is", agent=agent)


def _conversation(request: Mapping[str, Any], agent: str, episode: str | None, user: str | None) -> bytes:
    # Without the system message, in which the date may change before the conversation ends.
    own = b"" if episode is not None else affinity_key(write_system(request, ""))
    named = "\0".join([agent, episode or "", user or ""]).encode(errors="replace")
    return hashlib.blake2b(named + b"\0" + own, digest_size=16).digest()
