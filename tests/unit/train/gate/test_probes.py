"""Which calls become probes: short ones of all the log, and those that training moved most."""

import numpy as np

from etl.schema import SetAside
from tests.unit.train.calls import call
from train.gate.probes import MAX_TOKENS, NUM_CANDIDATES, NUM_PROBES, choose_candidates, make_probes


def test_candidates_are_short_trained_and_distinct_calls_from_all_over_the_log() -> None:
    """The same prompt again tells nothing new; a long one is asked after every change of weights."""
    calls = [call([number], [1], episode=number) for number in range(1000)]
    calls += [call([5], [9]), call([1] * MAX_TOKENS, [1]), call([2000], [1], set_aside=SetAside.OTHER_AGENT)]

    chosen = choose_candidates(calls)

    prompts = [int(each.prompt_ids[0]) for each in chosen]
    assert len(chosen) == NUM_CANDIDATES
    assert prompts[0] == 0
    assert prompts[-1] > 900
    assert choose_candidates([]) == []


def test_the_calls_that_moved_most_are_the_probes() -> None:
    """There stale weights show best; each has the log-probabilities of the new weights, in the order of the log."""
    calls = [call([number], [7, 8]) for number in range(NUM_PROBES + 2)]
    before = [np.array([-1.0, -1.0]) for _ in calls]
    after = [np.array([-1.0, -1.0 - number]) for number in range(len(calls))]

    probes = make_probes(calls, before, after)

    assert [probe.prompt_token_ids for probe in probes] == [[2], [3], [4], [5]]
    assert probes[0].logprobs == [-1.0, -3.0]


def test_of_long_calls_fewer_are_candidates() -> None:
    """All of them are read twice, and a window of minutes has little else to do."""
    calls = [call([number] * 56, [1] * 8, episode=number) for number in range(64)]

    chosen = choose_candidates(calls)

    assert len(chosen) == 8
    assert len(choose_candidates([call([number] * 500, [1], episode=number) for number in range(64)])) == NUM_PROBES
