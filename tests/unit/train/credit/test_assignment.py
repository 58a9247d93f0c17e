"""From logged episodes to an advantage of each call, as the settings say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.train.calls import call
from train.credit.assignment import Credit, credit_calls
from train.data.logged import Call, Episode, Logged
from train.settings import TrainConfig

NAN = float("nan")


def config(**fields: Any) -> TrainConfig:
    plain = {"model": Path("m"), "data": Path("d"), "baseline": "none", "scale": "none", "credit": "identical"}
    return TrainConfig.model_validate({**plain, **fields})


def logged(*outcomes: float, tasks: str | None = None, calls: list[Call] | None = None) -> Logged:
    """Return episodes of these outcomes, each with one call unless they are given."""
    episodes = [Episode(f"e{i}", (tasks or "t" * len(outcomes))[i], outcome) for i, outcome in enumerate(outcomes)]
    made = [call([1], [2], episode=i) for i in range(len(outcomes))] if calls is None else calls
    return Logged(episodes, made)


def advantages(window: Logged, **fields: Any) -> list[float]:
    return [round(float(value), 6) for value in credit_calls(window, config(**fields)).advantages]


@pytest.mark.parametrize("baseline", ["none", "midrange", "leave_one_out", "group_mean", "role_ema", "value"])
def test_where_nobody_was_rewarded_nobody_is_credited(baseline: str) -> None:
    """A window without rewards teaches nothing, whatever it is compared with."""
    for window in (logged(NAN, NAN), logged(calls=[])):
        assert credit_calls(window, config(baseline=baseline, credit="return_to_go")).advantages.tolist() == [
            0.0
        ] * len(window.calls)


def test_calls_of_episodes_without_a_reward_get_nothing_and_say_so() -> None:
    """They shift nobody else's place either."""
    found = credit_calls(logged(NAN, 1.0, NAN, 0.5), config())

    assert found.advantages.tolist() == [0.0, 1.0, 0.0, 0.5]
    assert found.targets is not None
    np.testing.assert_array_equal(found.targets, [NAN, 1.0, NAN, 0.5])


def test_the_middle_is_between_the_ends_and_zero_where_all_are_alike() -> None:
    """So that what was rewarded counts where everything was."""
    assert advantages(logged(0.0, 0.2, 1.0), baseline="midrange") == [-0.5, -0.3, 0.5]
    assert advantages(logged(1.0, 1.0), baseline="midrange") == [1.0, 1.0]


def test_a_group_is_of_attempts_at_one_task() -> None:
    """One alone has nothing to be compared with."""
    window = logged(1.0, 0.0, 1.0, tasks="aab")

    assert advantages(window, baseline="leave_one_out", shrinkage=0.0) == [1.0, -1.0, 0.0]
    assert advantages(window, baseline="group_mean") == [0.5, -0.5, 0.0]


def test_every_call_of_an_episode_shares_its_outcome() -> None:
    """Also one whose tokens cannot be trained."""
    calls = [call([1], [2], episode=0, turn=turn, start_ns=10 * turn) for turn in range(3)]

    assert advantages(logged(1.0, calls=calls)) == [1.0, 1.0, 1.0]


def earning(*earned: float) -> list[Call]:
    return [replace(call([1], [2], turn=i, start_ns=10 * i), intermediate=value) for i, value in enumerate(earned)]


def test_what_a_call_earned_belongs_to_those_before_it() -> None:
    """And not to those after; the weight of the settings is on it."""
    window = logged(1.0, 0.0, calls=[*earning(0.0, -0.1, 0.0), call([1], [2], episode=1)])
    loose = {"credit": "return_to_go", "air_cap": 1.0, "air_gate": "none"}

    assert advantages(window, **loose, air=1.0) == [0.9, 0.9, 1.0, 0.0]
    assert advantages(window, **loose, air=0.5) == [0.95, 0.95, 1.0, 0.0]
    assert advantages(window, **loose, air=0.0) == [1.0, 1.0, 1.0, 0.0]


def test_values_stand_at_the_calls_they_are_of() -> None:
    """Unrewarded calls between them have none."""
    window = logged(1.0, NAN, 0.0, 1.0, 0.0, tasks="abcde")

    found = credit_calls(window, config(baseline="value", credit="return_to_go"))

    assert found.values is not None
    assert found.returns is not None
    assert np.isnan(found.values).tolist() == [False, True, False, False, False]
    assert found.returns[[0, 2, 3, 4]].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert found.facts["baseline"] == "value"
    assert "value_explained" in found.facts


def test_without_a_value_there_is_none_to_show() -> None:
    """Nobody draws one that was not fitted."""
    found: Credit = credit_calls(logged(1.0, 0.0), config(baseline="midrange"))

    assert (found.values, found.returns) == (None, None)
    assert found.facts == {"credit": "identical", "baseline": "midrange"}
