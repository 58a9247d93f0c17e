"""Of several recordings of one exchange, the one that tells most is known, and whether one holds another."""

from typing import Any

import pytest

from etl.dialects.structure.renditions import holds, is_same_answer, retells, told

ASKED: list[dict[str, Any]] = [{"role": "system", "text": "Be brief."}, {"role": "user", "text": "Weather?"}]
CALL = {"id": "c1", "name": "look", "arguments": {}}
TURN: list[dict[str, Any]] = [
    {"role": "assistant", "text": None, "tool_calls": [CALL]},
    {"role": "tool", "text": "4 °C", "tool_call_id": "c1"},
]


def test_a_result_without_its_call_tells_less_than_none() -> None:
    """What asked for it was lost, so the rendition lost something."""
    assert told(ASKED) > told([*ASKED, TURN[1]])
    assert told([*ASKED, *TURN]) > told(ASKED)


def test_a_rendition_without_instructions_is_held_by_the_one_with() -> None:
    """Not the other way round."""
    assert holds(ASKED, ASKED[1:])
    assert not holds(ASKED[1:], ASKED)


def test_a_result_in_its_box_is_the_same_result() -> None:
    """In another box, or with another text in it, it is not."""
    boxed = '[{"type":"text","value":"4 °C"}]'

    assert holds([*ASKED, *TURN], [*ASKED, TURN[0], {**TURN[1], "text": boxed}])
    assert not holds([*ASKED, *TURN], [*ASKED, TURN[0], {**TURN[1], "text": '{"type":"text","value":"5 °C"}'}])


def test_answers_are_one_by_their_words_and_number_of_calls() -> None:
    """Ids may be missing in one of them."""
    assert is_same_answer(TURN[0], {**TURN[0], "tool_calls": [{**CALL, "id": None}]})
    assert not is_same_answer(TURN[0], {**TURN[0], "tool_calls": []})


@pytest.mark.parametrize(
    ("text", "is_line"),
    [
        ('Function: look({"city":"Zürich"})', True),
        ('tool_call: look {"city": "Z\\u00fcrich"}', True),
        ('Let me look. look({"city": "Zürich"})', False),
        ('look({"city": "Oslo"})', False),
    ],
)
def test_a_line_about_the_calls_has_no_words_of_its_own(text: str, is_line: bool) -> None:
    """Future AGI's instrumentation writes one in place of the answer's words."""
    assert retells(text, [{"id": "c1", "name": "look", "arguments": {"city": "Zürich"}}]) is is_line
