"""A device that is shared is taken for the steps that compute, and given back however the night goes."""

from typing import Any

import pytest

from spanloop.nightly import device
from spanloop.nightly.device import Device
from spanloop.nightly.settings import NightlyConfig


@pytest.mark.parametrize(
    ("steps", "is_shared", "asked"),
    [
        (("etl", "train", "evaluate", "promote"), True, ["pause", "resume"]),
        (("etl", "train"), True, ["pause", "resume"]),
        (("etl",), True, []),
        (("evaluate", "promote"), True, ["pause", "resume"]),
        (("etl", "train", "evaluate", "promote"), False, []),
    ],
)
def test_the_gateway_has_it_whenever_nothing_is_computed(
    monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...], asked: list[str], *, is_shared: bool
) -> None:
    """A night may end at any step, or begin in the middle; what is promoted needs a gateway that answers."""
    seen: list[str] = []

    def run_stage(*arguments: str) -> dict[str, Any]:
        seen.append(arguments[1])
        return {}

    monkeypatch.setattr(device, "run_stage", run_stage)
    shared = Device(NightlyConfig(pause=is_shared))
    for step in steps:
        shared.before(step)
        assert step != "promote" or seen == asked
    shared.give_back()

    assert seen == asked
