"""AIR: what the user said next, as a judgement of the answer: thanks, a correction, the same question again.

By rules, which are few and plain: what they do not know says nothing. A judge model can be asked about the rest
(`etl.rewards.signals.reply_judge`). After arXiv:2603.10165: whoever goes on talking tells what an answer was worth.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence

from etl.dialects.spans import LlmCall, Message

THANKS, CORRECTION, NOTHING = 1.0, -1.0, 0.0

LOOKED_AT = 300
"""Characters of a reply in which a judgement is looked for: it comes first, then the next task."""

ALIKE = 0.8
"""Share of words that two questions have in common from which on one is the other, asked again."""

FEWEST_WORDS = 3
"""In a question that is compared with another by its words."""

CORRECTIONS = re.compile(
    r"^(no|nope|nein|non|wrong|falsch|incorrect)\b(?!\s+(problem|worries|thanks|thank|need|further|more|rush))"
    r"|\b(is|was|isn't|'s) (still |totally |completely |just )?(wrong|incorrect)\b"
    r"|\bis(n't| not) (right|correct|true)\b"
    r"|'s not (right|correct|true|it)\b|\bnot what i (asked|meant|wanted|said)\b"
    r"|\b(does not|doesn't|didn't|did not|still not|not) work(ing)?\b"
    r"|\bstill (fails|failing|broken|wrong|the same (error|problem))\b"
    r"|\byou (forgot|missed|misunderstood|ignored|got (it|that) wrong)\b"
    r"|\bi (meant|said|asked for|already told you)\b|\btry again\b|\bstimmt nicht\b|\bdas ist falsch\b",
)
PRAISE = re.compile(
    r"\b(thanks|thank you|thx|danke|merci|gracias|perfect|excellent|awesome|wonderful|brilliant|well done|good job"
    r"|that (worked|works|helped|helps|did it)|works now|exactly (right|what i)|(that is|that's) (right|correct|it))\b"
    r"|^(great|super|cool|nice)\b",
)
DOUBT = re.compile(r"\b(not|isn't|no|but|however|though) (really |very )?(perfect|great|excellent|what|thanks)\b")


def judge_reply(reply: str, question: str) -> float:
    """Return what a reply says of the answer to a question: 1 thanks, -1 a correction or the question again, 0 nothing.

    >>> judge_reply("Thanks! And in Spain?", "Capital of France?"), judge_reply("No, I meant the river.", "And?")
    (1.0, -1.0)
    >>> judge_reply("capital of  France", "Capital of France?"), judge_reply("And of Spain?", "Capital of France?")
    (-1.0, 0.0)
    """
    said = " ".join(reply[:LOOKED_AT].casefold().replace("\u2019", "'").split())
    if _is_same(_words(reply), _words(question)) or CORRECTIONS.search(said):
        return CORRECTION
    return THANKS if PRAISE.search(said) and not DOUBT.search(said) else NOTHING


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
                question = _last_user_text(call.input)
                value = judge_reply(reply, question)
                if value == NOTHING and judge is not None:
                    value = judge(question, (call.output or [{}])[0].get("text") or "", reply) or NOTHING
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
    return any(message["tool_calls"] for message in call.output or ())


def _last_user_text(messages: Sequence[Message] | None) -> str:
    return next((m.get("text") or "" for m in reversed(messages or ()) if m["role"] == "user"), "")
