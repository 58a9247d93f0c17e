"""Verdicts that promise no more than they know, and hints that are true."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from train.gate.estimate import Estimate
from train.gate.verdict import Likelihood, Verdict, judge
from train.settings import EvaluateConfig

CONFIG = EvaluateConfig(checkpoint=Path())
NAN = float("nan")

GOOD = Estimate(
    num_episodes=100,
    num_clusters=50,
    num_calls=200,
    earned=0.5,
    gain=0.1,
    gain_low=0.05,
    gain_high=0.15,
    ess_share=0.8,
    max_weight_share=0.02,
    kl_call=0.1,
    nll=0.4,
    nll_before=0.5,
)
WORSE = {"gain": -0.1, "gain_low": -0.2, "gain_high": -0.01}


@pytest.mark.parametrize(
    ("changes", "verdict", "named"),
    [
        ({}, Verdict.PASSED, "gain +0.1000"),
        ({"gain_low": -0.01}, Verdict.INCONCLUSIVE, "in [-0.0100"),
        (WORSE, Verdict.REFUSED, "worse"),
        ({"kl_call": 1.01}, Verdict.INCONCLUSIVE, "max_kl"),
        ({"ess_share": 0.29}, Verdict.INCONCLUSIVE, "min_ess"),
        (WORSE | {"ess_share": 0.29}, Verdict.INCONCLUSIVE, "min_ess"),
        ({"num_episodes": 15}, Verdict.INCONCLUSIVE, "min_episodes"),
        ({"gain_low": -float("inf"), "gain_high": float("inf")}, Verdict.INCONCLUSIVE, "inf"),
        ({"nll": 0.59}, Verdict.PASSED, ""),
        ({"nll": 0.61}, Verdict.REFUSED, "max_nll_rise"),
        ({"nll": None, "nll_before": None}, Verdict.PASSED, ""),
        ({"num_episodes": 15, "nll": 0.7}, Verdict.REFUSED, "max_nll_rise"),
        *(({name: NAN}, Verdict.REFUSED, "no numbers") for name in ("gain", "ess_share", "kl_call", "nll")),
        ({"kl_call": float("inf")}, Verdict.REFUSED, "no numbers"),
    ],
)
def test_verdicts(changes: dict[str, Any], verdict: Verdict, named: str) -> None:
    """Refused is what evidence speaks against; too little or too far away is no evidence; no number passes."""
    found = judge(replace(GOOD, **changes), CONFIG, set_aside={})

    assert found.verdict is verdict
    assert named in found.reason
    assert (found.hint is None) == (verdict is Verdict.PASSED)


@pytest.mark.parametrize(
    ("set_aside", "named"),
    [
        ({}, "--holdout"),
        ({"no_outcome": 3, "too_long": 1}, "/v1/rewards"),
        ({"other_policy": 9}, "--against"),
        ({"masked": 9}, "masked"),
    ],
)
def test_without_heldout_calls_nothing_can_be_said(set_aside: dict[str, int], named: str) -> None:
    """Which is not the same as a refusal; the hint names what most calls lack."""
    found = judge(None, CONFIG, set_aside=set_aside)

    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.hint is not None
    assert named in found.hint


def test_an_open_verdict_says_how_many_episodes_would_close_it() -> None:
    """The interval is twice as wide as the gain: four times the episodes."""
    found = judge(replace(GOOD, gain_low=-0.1, gain_high=0.3), CONFIG, set_aside={})

    assert found.hint is not None
    assert "about 400 held-out episodes" in found.hint


@pytest.mark.parametrize(
    ("after", "verdict"), [(0.4, Verdict.INCONCLUSIVE), (0.7, Verdict.REFUSED), (NAN, Verdict.REFUSED)]
)
def test_text_alone_can_refuse_and_never_pass(after: float, verdict: Verdict) -> None:
    """How likely good answers are says when a model was damaged, not whether it earns more."""
    assert judge(Likelihood(40, nll=after, nll_before=0.5), CONFIG, set_aside={}).verdict is verdict
