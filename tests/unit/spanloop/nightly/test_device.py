"""A device that is shared is taken for the steps that compute, and given back however the night goes."""

import threading
from typing import Any

import pytest

from foundation.errors import SpanloopError
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


def test_a_pause_lasts_as_long_as_the_night_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for again while the night computes, and not any more once the device is given back."""
    asked, enough = [], threading.Event()
    monkeypatch.setattr(device, "RENEW_S", 0.001)
    monkeypatch.setattr(device, "run_stage", lambda *_: {})

    def run_program(command: list[str]) -> dict[str, Any]:
        asked.append(command)
        if len(asked) == 1:
            raise SpanloopError("the gateway is being restarted")
        if len(asked) == 3:
            enough.set()
        return {}

    monkeypatch.setattr(device, "run_program", run_program)
    shared = Device(NightlyConfig(pause=True))
    shared.before("train")
    assert enough.wait(60)
    shared.give_back()

    assert asked[0][-5:] == ["--data", "spanloop-data", "--at-most-s", "600.0", "--json"]
