"""What a writer spread over numbered attributes is the list it was, and what is missing of it is known."""

import pytest

from etl.dialects.structure.numbered import grouped, has_gaps, nested


def test_attributes_are_parted_from_the_numbered_ones() -> None:
    """By what stands before the number, in either way of writing one."""
    plain, groups = grouped({"m": 1, "p.0.role": "user", "p.10.role": "tool", "q[1].a": 2, "p.0.parts.0.text": "x"})

    assert plain == {"m": 1}
    assert groups == {"p": {"0.role": "user", "10.role": "tool", "0.parts.0.text": "x"}, "q": {"1.a": 2}}


def test_entries_come_in_the_order_of_their_numbers() -> None:
    """As objects and lists within each other; the tenth is after the ninth."""
    fields = {"10.role": "tool", "9.parts.1.text": "b", "9.parts.0.text": "a", "9.role": "user", "11": "bare"}

    found, _ = nested(fields)

    assert found == [{"parts": [{"text": "a"}, {"text": "b"}], "role": "user"}, {"role": "tool"}, "bare"]


@pytest.mark.parametrize(
    ("numbers", "is_gapped"),
    [([0, 1, 2], False), ([1, 2], False), ([0, 2], True), ([4, 5], True), ([0], False), ([3], True)],
)
def test_a_number_that_is_missing_is_a_gap(numbers: list[int], is_gapped: bool) -> None:
    """Counted from nought or from one; at the end nothing tells."""
    assert nested({f"{number}.a": 1 for number in numbers})[1] == is_gapped
    assert has_gaps(tuple(f"m.{number}.a" for number in numbers)) == is_gapped


def test_an_empty_content_is_one() -> None:
    """LangChain's comes as the JSON of the empty text."""
    assert nested({"0.content": '""', "0.name": '""'})[0] == [{"content": "", "name": '""'}]
