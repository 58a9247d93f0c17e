"""Routing: which call goes to which loss, what is left out, and the table that says so."""

import numpy as np
import pytest

from etl.schema import Evidence, SetAside
from tests.unit.train.calls import call
from train.data.logged import Call, Episode, Logged
from train.losses.registry import LOSSES
from train.losses.routing import ALONE, AUTO, NEVER_PUSHED_AWAY, Route, admitted, route_calls


def route(calls: list[Call], advantages: list[float], loss: str = "auto", negative: float = 1.0) -> tuple[Route, list]:
    """Route calls of as many episodes."""
    logged = Logged([Episode(str(index), "task", 1.0) for index in range(len(calls))], calls)
    found, taken = route_calls(logged, np.array(advantages), loss=loss, negative=negative)
    return found, taken.tolist()


def test_auto_sends_every_call_where_its_evidence_allows() -> None:
    """One good and one bad call of each kind, and the table of what became of them."""
    kinds = list(Evidence)
    calls = [call([1], [2, 3], evidence=evidence) for evidence in kinds for _ in range(2)]

    found, _ = route(calls, [1.0, -1.0] * len(kinds))

    assert [(row["known"], row["loss"], row["num_calls"], row["num_left_out"]) for row in found.table] == [
        ("exact", "cispo", 2, 0),
        ("rescored", "cispo", 2, 0),
        ("ids", "dro", 2, 0),
        ("cut", "topr", 2, 1),
        ("text", "awr", 2, 0),
        ("foreign", "rft", 2, 1),
    ]
    assert all(row["why"] and row["num_tokens"] == 4 for row in found.table)


def test_auto_never_asks_a_loss_for_more_than_a_call_has() -> None:
    """What is chosen for a kind of call admits it."""
    assert all(known in LOSSES[loss].admits for known, (loss, _) in AUTO.items())
    assert admitted("auto") == set(Evidence)


@pytest.mark.parametrize("loss", ["auto", *sorted(LOSSES)])
def test_nothing_pushes_away_from_a_call_without_a_ratio_or_of_another_model(loss: str) -> None:
    """Under any loss a bad one has weight 0."""
    for evidence in NEVER_PUSHED_AWAY:
        found, _ = route([call([1], [2], evidence=evidence), call([1], [3], evidence=evidence)], [1.0, -1.0], loss)
        assert found.weight[1] == 0


def test_negative_advantages_are_weakened_only_where_the_loss_is_proportional_to_them() -> None:
    """AWR needs them as they are: its weights are exponential."""
    calls = [call([1], [2]), call([1], [3], evidence=Evidence.TEXT)]

    _, taken = route(calls, [-1.0, -1.0], negative=0.25)

    assert taken == [-0.25, -1.0]


def test_dpo_pairs_the_best_with_the_worst_answer_to_the_very_same_prompt() -> None:
    """Another agent or another prompt is no pair, nor are equals; a fifth answer stays alone."""
    same = [call([1, 2], [token]) for token in range(5)]
    calls = [*same, call([1, 2], [9], agent="other"), call([1, 3], [9]), call([4], [1]), call([4], [2])]

    found, signs = route(calls, [0.1, 0.9, -0.5, 0.2, 0.0, -1.0, 1.0, 0.5, 0.5], "dpo")

    assert found.partner.tolist() == [ALONE, 2, 1, 4, 3, ALONE, ALONE, ALONE, ALONE]
    assert signs == [0, 1, -1, 1, -1, 0, 0, 0, 0]
    assert found.weight.tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0]


def test_kto_weighs_good_and_bad_calls_the_same_in_sum() -> None:
    """Three good ones and one bad one; neither good nor bad counts nothing."""
    found, _ = route([call([1], [2]) for _ in range(5)], [1.0, 0.5, 0.5, -1.0, 0.0], "kto")

    assert found.weight.tolist() == [1, 1, 1, 3, 0]


def test_dapo_leaves_out_answers_that_were_cut_short() -> None:
    """They stay in what is divided by; the other losses train them."""
    calls = [call([1], [2], was_cut_short=True), call([1], [2])]

    assert route(calls, [1.0, 1.0], "dapo")[0].weight.tolist() == [0, 1]
    assert route(calls, [1.0, 1.0], "ppo")[0].weight.tolist() == [1, 1]


def test_calls_set_aside_have_no_weight_and_no_row() -> None:
    """They are context."""
    found, _ = route([call([1], [2], set_aside=SetAside.OTHER_AGENT)], [1.0])

    assert (found.weight.tolist(), found.table) == ([0], [])
