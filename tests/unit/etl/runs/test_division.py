"""Shares of one run that know nothing of each other do the same plan, each its part, and nothing counts half."""

from pathlib import Path

import pytest

from etl.published.window import Window
from etl.runs import division
from etl.runs.buckets import Bucket
from etl.runs.plan import Plan
from etl.runs.work import Processed
from etl.settings import EtlConfig
from foundation.errors import SettingsError, SpanloopError

PLAN = Plan(
    Window(3, 9),
    2,
    is_new=True,
    pending={("p", "late")},
    now_us=7,
    buckets=[Bucket({("p", f"t{number}"), ("q", "x")}, number, number + 1, 5, 50) for number in range(5)],
)


def config(data: Path, **changed: object) -> EtlConfig:
    return EtlConfig.model_validate({"data": data, **changed})


def joined(data: Path, num_shares: int = 2) -> division.Division:
    return division.join(config(data), num_shares, lambda: PLAN)


def done(number: int) -> Processed:
    return Processed({("p", f"t{number}")}, {"spans": number}, {"episodes": 1}, {"episodes": ["a"]}, [("p", "late")])


def test_what_the_first_share_plans_the_others_find(tmp_path: Path) -> None:
    """Whole: the window, the pending traces, each bucket with its traces and its size."""

    def never() -> Plan:
        raise AssertionError("the plan is made once")

    first = joined(tmp_path)
    second = division.join(config(tmp_path), 2, never)

    assert first.plan == second.plan == PLAN
    assert division.load(tmp_path) == second


def test_every_bucket_belongs_to_one_share(tmp_path: Path) -> None:
    """Also where there are more shares than buckets."""
    for num_shares in (1, 2, 7):
        made = division.Division(PLAN, num_shares, {})
        taken = [number for share in range(num_shares) for number in made.share(share)]
        assert sorted(taken) == [0, 1, 2, 3, 4]
    assert division.load(tmp_path) is None


@pytest.mark.parametrize("text", ["2/2", "5/2", "0/0"])
def test_a_share_that_is_not_there_is_refused(text: str) -> None:
    """Counting begins at 0."""
    with pytest.raises(SettingsError, match=text):
        division.parse_share(text)


def test_a_share_with_other_settings_does_not_join(tmp_path: Path) -> None:
    """It names what differs; what belongs to a process alone may differ."""
    joined(tmp_path)

    with pytest.raises(SettingsError, match="another discount, holdout"):
        division.join(config(tmp_path, discount=0.5, holdout=0.2), 2, lambda: PLAN)
    with pytest.raises(SettingsError, match="divided into 2 shares"):
        division.join(config(tmp_path, bucket="0/3"), 3, lambda: PLAN)
    assert division.join(config(tmp_path, workers=3), 2, lambda: PLAN).plan == PLAN


def test_nothing_is_published_before_every_bucket_is_done(tmp_path: Path) -> None:
    """The shares to start again are named."""
    made = joined(tmp_path)
    for number in (0, 2, 3):
        division.keep(tmp_path, number, done(number))

    with pytest.raises(SpanloopError, match="2 of 5 buckets are not done") as caught:
        division.results(tmp_path, made)
    assert "--bucket 0/2, 1/2" in (caught.value.hint or "")

    for number in (1, 4):
        division.keep(tmp_path, number, done(number))
    assert division.results(tmp_path, made) == [done(number) for number in range(5)]


def test_a_share_that_was_overtaken_says_so(tmp_path: Path) -> None:
    """Another run gave the plan up, or published: what this one computed counts nowhere."""
    joined(tmp_path)
    division.keep(tmp_path, 0, done(0))

    assert division.discard(tmp_path)
    assert not division.discard(tmp_path)
    with pytest.raises(SpanloopError, match="is gone"):
        division.keep(tmp_path, 1, done(1))
    assert not division.done_path(tmp_path, 0).exists()
