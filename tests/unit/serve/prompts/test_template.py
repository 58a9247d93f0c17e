"""Messages with holes: matched exactly, in time that grows with their length."""

import pytest

from foundation.errors import SettingsError
from serve.prompts.template import LONGEST_FILLING, Template


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [
        ("Be kind.", "Be kind.", {}),
        ("Be kind.", "Be kind. ", None),
        ("{{who}}, be kind.", "Ada, be kind.", {"who": "Ada"}),
        ("Be kind to {{who}}", "Be kind to Ada", {"who": "Ada"}),
        ("{{a}} and {{b}}.", "x and y and z.", {"a": "x", "b": "y and z"}),
        ("On {{day}} at {{hour}}.", "On Monday at 3.", {"day": "Monday", "hour": "3"}),
        ("On {{day}}.", "On .", None),
        ("On {{day}}.", "On a\nb.", None),
        ("On {{day}}.", "On " + "x" * (LONGEST_FILLING + 1) + ".", None),
        ("ab{{x}}ba", "aba", None),
    ],
)
def test_a_message_matches_or_does_not(text: str, message: str, expected: dict[str, str] | None) -> None:
    """Nothing but the holes may differ, and what fills them is short and of one line."""
    assert Template(text).match(message) == expected


def test_what_fills_a_hole_is_put_as_it_stands() -> None:
    """Braces in it open no other hole, and a text that is no template has none."""
    own, better = Template("On {{day}}."), Template("It is {{day}}. {{day}}!")
    fillings = own.match("On {{day}}.")
    assert fillings == {"day": "{{day}}"}
    assert better.fill({"day": "\\1 {{x}}"}) == "It is \\1 {{x}}. \\1 {{x}}!"
    assert Template("{{x}}", is_template=False).match("{{x}}") == {}
    assert Template("{{x}}", is_template=False).fill({"x": "y"}) == "{{x}}"


@pytest.mark.parametrize("text", ["", " \n", "{{a}}", "{{a}} ", "a{{b}}{{c}}d", "{{a}} and {{a}}"])
def test_what_nobody_could_match_for_certain_is_refused(text: str) -> None:
    """Nothing at all, holes alone, holes that touch, one that stands twice."""
    with pytest.raises(SettingsError):
        Template(text).check()


def test_a_long_message_that_does_not_match_costs_little() -> None:
    """A message made to have every hole tried at every place is read once."""
    text = "".join(f"a{{{{h{number}}}}}" for number in range(40)) + "z"
    assert Template(text).match("a" * 200_000) is None
