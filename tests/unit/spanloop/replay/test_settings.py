"""Settings of a replay, as a command line and a file give them."""

import pytest
from pydantic import ValidationError

from spanloop.replay.settings import ReplayConfig


@pytest.mark.parametrize(
    ("given", "names"),
    [("a, b,,", ("a", "b")), (["a,b", " c"], ("a", "b", "c")), (("x*",), ("x*",)), ("", ()), ([], ())],
)
def test_agents_are_named_once_or_in_a_row(given: object, names: tuple[str, ...]) -> None:
    """By a flag that is repeated, a list in a file, or one text with commas; what is empty names nobody."""
    assert ReplayConfig.model_validate({"candidate": "c", "agents": given}).agents == names


@pytest.mark.parametrize("wrong", [{"agents": [1]}, {"agents": 7}, {"states": 0}, {"margin": -0.1}, {"score": "best"}])
def test_what_is_no_setting_is_refused_by_its_name(wrong: dict[str, object]) -> None:
    """Rather than taken for another."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ReplayConfig.model_validate({"candidate": "c", **wrong})


def test_keys_are_not_written_where_settings_are() -> None:
    """Into reports."""
    config = ReplayConfig.model_validate({"candidate": "c", "api_key": "sl_1", "judge_api_key": "sl_2"})

    assert "sl_" not in config.model_dump_json() + repr(config)
