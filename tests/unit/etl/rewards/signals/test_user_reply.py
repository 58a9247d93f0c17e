"""What the user said next, as a judgement of the answer."""
# ruff: noqa: RUF001 - Cyrillic and Turkish letters are meant

import json
from typing import Any

import pytest

from etl.rewards.signals.user_reply import judge_reply
from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import Span, llm, logs_frame, span, spans_frame

QUESTION = "Which train goes to Bergen in the morning?"


@pytest.mark.parametrize(
    "reply",
    [
        "Thanks!", "thank you so much, and the way back?", "Perfect.", "Great, book it", "that worked",
        "Exactly right", "Danke dir", "merci !", "That\u2019s correct. Next one.", "ok perfect",
        "No worries, thanks!", "No, that's perfect", "That worked like a charm", "This is great, now add tests",
        "Super, danke!", "Muchas gracias", "Merci beaucoup !", "Grazie mille", "Obrigado!", "Bedankt!", "Dziękuję",
        "Спасибо", "Teşekkürler", "谢谢\uff01", "ありがとうございます", "감사합니다",
    ],
)  # fmt: skip
def test_thanks(reply: str) -> None:
    """In front of the next task, too."""
    assert judge_reply(reply, QUESTION) == 1.0


@pytest.mark.parametrize(
    "reply",
    [
        "No, the evening one", "that is wrong", "That\u2019s not right", "it still fails", "It doesn't work",
        "thanks, but that's wrong", "you forgot the date", "I meant Bergen in Norway", "Not what I asked.",
        "try again", "Wrong!", "this isn't correct", QUESTION, QUESTION.upper() + "!!", "Nein.",
        "Which train goes to Bergen in the early morning?", "Still getting the same error", "Undo that please",
        "you didn't answer my question", "Das stimmt so nicht", "Nein, ich meinte den Abendzug",
        "Eso no es correcto", "Non, ce n'est pas ça", "È sbagliato", "está errado", "Dat klopt niet",
        "To nie działa", "Неправильно", "yanlış", "不对\uff0c我是说晚上", "違います", "틀렸어요",
    ],
)  # fmt: skip
def test_corrections_and_the_same_question_again(reply: str) -> None:
    """Also where they are polite."""
    assert judge_reply(reply, QUESTION) == -1.0


@pytest.mark.parametrize(
    "reply",
    [
        "And the way back?", "No problem, what about Tuesday?", "Which bus goes there?", "ok", "", "Book it.",
        "No thanks", "No, thank you", "Nein danke", "No, gracias", "no idea, you choose", "no that's fine",
        "Thanks in advance", "Please summarise this text. Thanks!", "What is a perfect number?",
        "excellent restaurants near", "Why is my printer not working?", "My car doesn't work in winter",
        "I said hello to her yesterday", "Was ist an dem Satz falsch?", "wrong side of the bed, what does it mean",
        "not great, not terrible", "What did the wrong turn cost him?", "Say no more",
    ],
)  # fmt: skip
def test_what_the_rules_do_not_know_says_nothing(reply: str) -> None:
    """Nothing is guessed."""
    assert judge_reply(reply, QUESTION) == 0.0


def test_a_no_to_an_answer_that_asks_corrects_nothing() -> None:
    """It answers; what else is said still counts."""
    assert judge_reply("No, the later one.", QUESTION, "The 8:15. Shall I book it?") == 0.0
    assert judge_reply("No, the later one.", QUESTION, "The 8:15.") == -1.0
    assert judge_reply("No, that is wrong.", QUESTION, "The 8:15, right?") == -1.0


def replies(*spans: Span, judge: Any = None, **settings: Any) -> list[float | None]:
    """Return what was measured of each call, in the order they began."""
    rows = transform(
        spans_frame(spans), logs_frame(), EtlConfig(complete_after=0, **settings), judge_reply=judge
    ).tables["transitions"]
    return [json.loads(text).get("user_reply") for text in rows.sort("start_ns")["signals"]]


SAID = [("user", QUESTION), ("assistant", "The 8:15.")]


def test_the_reply_stands_in_the_next_request() -> None:
    """It falls on the answer it follows, in the session's next trace as in the same; the last answer has none."""
    for trace, session in (("t", {}), ("next", {"gen_ai.conversation.id": "talk"})):
        first = llm("a", asked=SAID[:1], said="The 8:15.", start=1, end=2, attributes=session)
        second = llm("b", trace=trace, asked=[*SAID, ("user", "Thanks! And back?")], start=9, attributes=session)

        assert replies(first, second) == [1.0, None]


def test_a_turn_without_history_is_the_reply_to_the_one_before() -> None:
    """Where the provider holds the conversation, a request is the user's message alone."""
    session = {"gen_ai.conversation.id": "talk"}
    spans = [
        llm(f"t{n}", trace=f"t{n}", asked=[("user", text)], said=f"answer {n}", start=5.0 * n, attributes=session)
        for n, text in enumerate((QUESTION, "No, the evening one", "thank you"))
    ]

    assert replies(*spans) == [-1.0, 1.0, None]


def test_another_conversation_says_nothing() -> None:
    """Many begin alike: what one user answers is no other's judgement."""
    sessions = [{"gen_ai.conversation.id": name} for name in ("one", "two")]
    first = llm("a", trace="1", asked=SAID[:1], said="The 8:15.", start=1, attributes=sessions[0])
    other = llm("b", trace="2", asked=[*SAID, ("user", "That is wrong")], start=9, attributes=sessions[1])

    assert replies(first, other) == [None, None]


def test_the_judge_is_asked_what_the_rules_do_not_know() -> None:
    """And its word counts by the signal's weight."""
    asked: list[tuple[str, str, str]] = []

    def judge(*words: str) -> float:
        asked.append(words)  # type: ignore[arg-type]
        return -1.0

    reply = [*SAID, ("user", "Hm, that one does not stop there.")]
    spans = [span("root", end=99), llm("a", parent="root", asked=SAID[:1], said="The 8:15.", start=1),
             llm("b", parent="root", asked=reply, said="Sorry.", start=3),
             llm("c", parent="root", asked=[*reply, ("assistant", "Sorry."), ("user", "thanks")], start=5)]  # fmt: skip

    assert replies(*spans, judge=judge) == [-1.0, 1.0, None]
    assert asked == [(QUESTION, "The 8:15.", "Hm, that one does not stop there.")]
