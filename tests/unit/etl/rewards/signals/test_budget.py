"""Time and tokens beside their budgets."""

import pytest

from tests.unit.etl.rewards.signals.episode import step, transitions


def test_budgets_of_time_and_tokens() -> None:
    """Nothing within the budget, half the weight at one and a half of it."""
    usage = {"gen_ai.usage.output_tokens": 30}
    rows = transitions(
        step("a", start=1, attributes=usage), latency=0.2, latency_budget_s=0.8, tokens=0.1, token_budget=20
    )

    assert rows["reward_latency"].to_list() == [pytest.approx(-0.05)]
    assert rows["reward_tokens"].to_list() == [pytest.approx(-0.05)]
