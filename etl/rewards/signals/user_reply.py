"""AIR: what the user said next, as a judgement of the answer: thanks, a correction, the same question again.

By rules, which are few and plain: what they do not know says nothing. A judge model can be asked about the rest
(`etl.rewards.signals.reply_judge`). After arXiv:2603.10165: whoever goes on talking tells what an answer was worth.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence

from etl.dialects.spans import LlmCall, Message
from etl.rewards.signals.reply_words import CORRECTIONS, DOUBT, PRAISE, compiled

THANKS, CORRECTION, NOTHING = 1.0, -1.0, 0.0

LOOKED_AT = 300
"""Characters of a reply in which a judgement is looked for: it comes first, then the next task."""

ALIKE = 0.8
"""Share of words that two questions have in common from which on one is the other, asked again."""

FEWEST_WORDS = 3
"""In a question that is compared with another by its words."""

CLAUSES = 3
"""Clauses at the beginning of a reply in which a correction is looked for; praise is in the first."""

ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
ASKS = ("?", "\uff1f", "\u061f")
"""Question marks: of Latin letters, of Chinese and Japanese, of Arabic."""

WRONG, RIGHT, DOUBTFUL = compiled(CORRECTIONS), compiled(PRAISE), re.compile(DOUBT)
DENIAL = re.compile(r"^(no|nope|nein|nee|non|não|nie|нет|hay\u0131r|いいえ|아니요|لا)\b[\s,.!、。،]*")
"""What answers a question that the assistant asked, and corrects nothing."""


def judge_reply(reply: str, question: str, answer: str = "") -> float:
    """Return what a reply says of the answer to a question: 1 thanks, -1 a correction or the question again, 0 nothing.

    What asks is no correction, but for the same question again; nor is a plain no to an answer that asks.

    >>> judge_reply("Thanks! And in Spain?", "Capital of France?"), judge_reply("No, I meant the river.", "And?")
    (1.0, -1.0)
    >>> judge_reply("capital of  France", "Capital of France?"), judge_reply("And of Spain?", "Capital of France?")
    (-1.0, 0.0)
    >>> judge_reply("No, the later one", "A train?"), judge_reply("No, the later one", "A train?", "Is 8:15 fine?")
    (-1.0, 0.0)
    """
    if _is_same(_words(reply), _words(question)):
        return CORRECTION
    parts = ENDS.split(reply[:LOOKED_AT].casefold().replace("\u2019", "'"))
    clauses = [clause for clause in (" ".join(part.split()) for part in parts) if clause]
    if clauses and answer.rstrip().endswith(ASKS):
        clauses[0] = DENIAL.sub("", clauses[0])
    if any(WRONG.search(clause) for clause in clauses[:CLAUSES] if not clause.endswith(ASKS)):
        return CORRECTION
    is_praise = bool(clauses) and RIGHT.search(clauses[0]) and not DOUBTFUL.search(clauses[0])
    return THANKS if is_praise else NOTHING


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _is_same(one: list[str], other: list[str]) -> bool:
    if one == other:
        return bool(one)
    first, second = set(one), set(other)
    if min(len(first), len(second)) <= FEWEST_WORDS:
        return False
    return len(first & second) >= ALIKE * len(first | second) and one[:1] == other[:1]


Judge = Callable[[str, str, str], float | None]
"""Question, answer and reply to what the reply says of the answer; None where the judge cannot tell."""


def user_reply(dialogues: Iterable[Sequence[LlmCall]], judge: Judge | None) -> dict[int, float]:
    """Return by call row what the user said next; a call whose answer no user message follows has no entry.

    `dialogues` are the calls of an episode, or of a session, numbered and in the order they began. The reply is the
    message after the answer in a later request; where requests hold no history, the question of the session's next
    episode.
    """
    measured: dict[int, float] = {}
    for calls in dialogues:
        replies = _replies(calls)
        for call in calls:
            reply = replies.get(call.span.index)
            if reply is not None:
                question, answer = _last_user_text(call.input), (call.answer or {}).get("text") or ""
                value = judge_reply(reply, question, answer)
                if value == NOTHING and judge is not None:
                    value = judge(question, answer, reply) or NOTHING
                measured[call.span.index] = value
    return measured


def _replies(calls: Sequence[LlmCall]) -> dict[int, str]:
    followed: dict[Hashable, str] = {}
    for call in calls:
        for number, message in zip(call.beginnings, call.input or (), strict=False):
            if message["role"] == "user" and message.get("text"):
                followed.setdefault(number, message["text"])
    found: dict[int, str] = {}
    for call, later in zip(calls, [*calls[1:], None], strict=True):
        reply = next((followed[number] for number in call.endings if number in followed), None)
        if reply is None and later is not None and _begins_anew(call, later):
            reply = _last_user_text(later.input) or None
        if reply is not None and not _asks_for_tools(call):
            found[call.span.index] = reply
    return found


def _begins_anew(call: LlmCall, later: LlmCall) -> bool:
    """Tell whether a call of a later trace of the session holds nothing but the user's next message."""
    roles = {message["role"] for message in later.input or ()}
    is_later = later.span.trace_id != call.span.trace_id and later.span.start_ns >= call.span.end_ns
    return is_later and "user" in roles and not roles & {"assistant", "tool"} and later.agent == call.agent


def _asks_for_tools(call: LlmCall) -> bool:
    return bool(call.answer and call.answer["tool_calls"])


def _last_user_text(messages: Sequence[Message] | None) -> str:
    return next((m.get("text") or "" for m in reversed(messages or ()) if m["role"] == "user"), "")
