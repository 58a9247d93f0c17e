"""What is asked and answered nearly as before is taught once; what only looks alike is not left out."""

import json
from typing import Any

from tests.logged import frame
from tests.unit.train.distill.lessons import call, calling
from train.distill.choosing import choose

ASKED = "please tell me whether the blue parcel that I sent to my aunt in Bergen last week has arrived there already"
ANSWER = "Yes, the blue parcel has arrived in Bergen, and your aunt has signed for it at the door this morning"

REVIEW = "Read the review below and say in one word what its author feels about the product, nothing else please: "


def left(rows: list[dict[str, Any]], **settings: Any) -> dict[str, int]:
    return choose(frame(rows), **settings).left


def test_what_nearly_repeats_an_earlier_call_is_left_out() -> None:
    """A word more in front, another one at the end, of question and answer."""
    rows = [
        call("a", ANSWER, question=ASKED),
        call("b", ANSWER.replace("Yes, the", "The"), question="Hello, " + ASKED),
        call("c", ANSWER, question=ASKED.replace("already", "yet")),
    ]

    assert left(rows) == {"near_duplicate": 2}


def test_another_answer_number_or_call_is_another_lesson() -> None:
    """However alike the questions are."""
    rows = [
        call("a", ANSWER, question=ASKED),
        call("b", "No, nothing has come to Bergen yet; ask the post office there", question=f"{ASKED} now"),
        call("c", ANSWER, question=f"{ASKED} 2"),
        calling("d", "add", {"a": 1}, question=f"Well, {ASKED}"),
        calling("e", "add", {"a": 2}, question=f"So, {ASKED}"),
    ]

    assert left(rows) == {}


def test_a_template_makes_no_duplicates() -> None:
    """Questions that differ only in what is filled in, with one of a few answers, as a classifier's are."""
    things = ("lamp", "chair", "phone", "kettle", "carpet", "drill", "shoe", "clock", "coat", "tent", "bike", "pan")
    rows = [
        call(thing, ("happy", "angry")[number % 2], question=f"{REVIEW}my {thing} is what I wanted, truly")
        for number, thing in enumerate(things)
    ]

    assert left(rows) == {}


def test_turns_of_one_conversation_are_lessons_of_their_own() -> None:
    """They share nearly everything; what was said last tells them apart. The conversation told anew is left out."""

    def turns(task: str, first: str) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = [{"role": "user", "text": first}]
        rows = []
        for number, more in enumerate(("and the green one?", "and the red one?", "and the small one?")):
            said = [*said, {"role": "assistant", "text": "It has.", "tool_calls": []}, {"role": "user", "text": more}]
            rows.append(call(task, "It has.", number=number, observation=json.dumps(said)))
        return rows

    conversation = turns("a", ASKED)

    assert left(conversation) == {}
    assert left([*conversation, *turns("b", f"Hello, {ASKED}")]) == {"near_duplicate": 3}


def test_another_agent_is_taught_it_too() -> None:
    """A student of both is asked as each of them."""
    rows = [call("a", ANSWER, question=ASKED), call("b", ANSWER, question=f"Hello, {ASKED}", agent="other")]

    assert left(rows) == {}
