"""Settings of a night, as a command line and a file give them."""

import pytest
from pydantic import ValidationError

from spanloop.nightly.settings import NightlyConfig


@pytest.mark.parametrize(
    ("given", "names"),
    [("a, b,,", ("a", "b")), (["a,b", " c"], ("a", "b", "c")), (("x*",), ("x*",)), ("", ()), ([], ())],
)
def test_agents_are_named_once_or_in_a_row(given: object, names: tuple[str, ...]) -> None:
    """By a flag that is repeated, a list in a file, or one text with commas; what is empty names nobody."""
    assert NightlyConfig.model_validate({"agents": given}).agents == names


@pytest.mark.parametrize(
    "wrong",
    [
        {"launch": "a 'b"},
        {"launch": " "},
        {"agents": [1]},
        {"agents": 7},
        {"margin": 0},
        {"margin": 1},
        {"keep": 0},
        {"windows": 0},
    ],
)
def test_what_is_no_setting_is_refused_by_its_name(wrong: dict[str, object]) -> None:
    """Rather than taken for another."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NightlyConfig.model_validate(wrong)
