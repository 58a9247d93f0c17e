"""Answers beside the format they were asked for."""

import json

from tests.unit.etl.rewards.signals.episode import SCHEMA, step, transitions


def test_an_answer_that_is_not_the_json_it_should_be() -> None:
    """The schema counts too."""
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    asked = {"gen_ai.request.response_format": json.dumps(wanted)}
    rows = transitions(
        step("a", start=1, attributes=asked, said='{"q": 1}'),
        step("b", start=3, attributes=asked, said='{"q": "one"}'),
        step("c", start=5, attributes=asked, said="one"),
        step("d", start=7),
        output_format=0.5,
    )

    assert rows["reward_output_format"].to_list() == [0.0, -0.5, -0.5, None]
