"""One logged state replayed: asked anew, tools answered from the recording, until it ends or departs from it."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from spanloop.replay.asking import Answer, Ask, NoAnswer
from spanloop.replay.messages import Message, ToolCall, as_openai, calls_of, key_of, offered, with_system
from spanloop.replay.states import State

MOST_TURNS = 12
"""Answers beyond the recorded ones that a replay may take: one that goes round in circles ends."""


class End(StrEnum):
    """How a replay ended."""

    ANSWERED = "answered"
    """With an answer that asks no tool: it was replayed to its end."""

    NOT_RECORDED = "not_recorded"
    """With a call whose result is not on record: what came after it, nobody knows."""

    TOO_MANY_TURNS = "too_many_turns"
    """It went on calling tools."""

    CUT_SHORT = "cut_short"
    """With an answer that the limit of tokens cut off."""

    REFUSED = "refused"
    """The endpoint took the question for none, such as one that is too long."""


@dataclass(frozen=True)
class Replayed:
    """What a candidate did from a state."""

    state: State
    answers: list[Answer]
    end: End
    messages: list[Message]
    """The whole conversation, its last answer included."""

    @property
    def is_whole(self) -> bool:
        """Tell whether it was replayed to its end."""
        return self.end is End.ANSWERED

    @property
    def last(self) -> Message | None:
        """Its last answer; null where there was none."""
        return self.answers[-1].message if self.answers else None

    def agreements(self) -> list[bool]:
        """Tell of each recorded answer it came to whether it asked the same of the same tools."""
        turns = self.state.turns
        return [
            calls_of(answer.message) == calls_of(turn.action) for answer, turn in zip(self.answers, turns, strict=False)
        ]


def replay(
    state: State, ask: Ask, *, seed: int, system: str | None = None, temperature: float | None = None
) -> Replayed:
    """Ask a candidate from a state on.

    Sampling is as it was recorded, under a seed that follows from `seed`, the state and the turn. `system` takes the
    place of the system message.
    """
    messages = with_system(state.messages, system)
    tools, told = offered(state.tools), Counter[ToolCall]()
    answers: list[Answer] = []
    sampling = state.sampling if temperature is None else {**state.sampling, "temperature": temperature}
    while len(answers) < len(state.turns) + MOST_TURNS:
        body: dict[str, Any] = {"messages": [as_openai(message) for message in messages], **sampling}
        body["seed"] = _seed(seed, state, len(answers))
        if tools:
            body["tools"] = tools
        try:
            answer = ask(body)
        except NoAnswer:
            return Replayed(state, answers, End.REFUSED, messages)
        answers.append(answer)
        messages = [*messages, answer.message]
        calls = answer.message.get("tool_calls") or []
        if not calls:
            end = End.CUT_SHORT if answer.finish_reason == "length" else End.ANSWERED
            return Replayed(state, answers, end, messages)
        if _ends_as_recorded(state, calls):
            return Replayed(state, answers, End.ANSWERED, messages)
        for number, call in enumerate(calls):
            said = _recorded(state, key_of(call), told)
            if said is None:
                return Replayed(state, answers, End.NOT_RECORDED, messages)
            call_id = call.get("id") or f"call_{number}"
            messages = [*messages, {"role": "tool", "text": said, "tool_call_id": call_id}]
    return Replayed(state, answers, End.TOO_MANY_TURNS, messages)


def replay_all(
    states: Sequence[State],
    ask: Ask,
    *,
    seed: int = 0,
    system: str | None = None,
    temperature: float | None = None,
    concurrency: int = 8,
) -> list[Replayed]:
    """Replay states side by side; what comes back is in their order, whatever came first."""
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        made = [pool.submit(replay, state, ask, seed=seed, system=system, temperature=temperature) for state in states]
        try:
            return [each.result() for each in made]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def as_recorded(state: State) -> Replayed:
    """Return what was recorded from a state, as if it had been replayed: what is measured alike is compared fairly."""
    conversation = list(state.messages)
    for turn in state.turns:
        calls = turn.action.get("tool_calls") or []
        results = [(call, state.results.get(key_of(call), [])) for call in calls]
        conversation += [
            turn.action,
            *(
                {"role": "tool", "text": said[0], "tool_call_id": call.get("id")}
                for call, said in results
                if said and turn is not state.turns[-1]
            ),
        ]
    answers = [
        Answer(turn.action, turn.action.get("finish_reason"), turn.duration_s or 0.0, turn.tokens)
        for turn in state.turns
    ]
    end = End.CUT_SHORT if state.last.get("finish_reason") == "length" else End.ANSWERED
    return Replayed(state, answers, end, conversation)


def _ends_as_recorded(state: State, calls: list[dict[str, Any]]) -> bool:
    """Tell whether calls are of tools by which the recording ended: those hand over an answer, and return none."""
    ending = {call["name"] for call in state.last.get("tool_calls") or ()}
    return all(call["name"] in ending and key_of(call) not in state.results for call in calls)


def _recorded(state: State, key: ToolCall, told: Counter[ToolCall]) -> str | None:
    """Return what a tool said when it was asked that, the first time first; null where nobody knows.

    Asked more often than on record it says the same again, where it always did.
    """
    said = state.results.get(key)
    if not said:
        return None
    place = told[key]
    told[key] += 1
    if place < len(said):
        return said[place]
    return said[0] if len(set(said)) == 1 else None


def _seed(seed: int, state: State, turn: int) -> int:
    digest = sha256(json.dumps([seed, state.name, turn]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
