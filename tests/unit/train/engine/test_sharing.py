"""Sequences that branch: each is whole in its row, what is common stands there once, batches keep to their budget."""

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes import tiny_model
from tests.unit.train.calls import call
from train.data.lineage import build_sequences
from train.engine.pack import collate
from train.engine.policy import SampledTokens, load_policy
from train.engine.sharing import SHORTEST_SHARED, fill, lay_out, plan_batches

pieces = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4)


def branching(chosen: list[list[int]]) -> list[np.ndarray]:
    """Sequences of pieces of 10 to 70 tokens: two that begin with the same pieces begin alike."""
    made = [[number * 100 + place for number in each for place in range(10 + 20 * number)] for each in chosen]
    return [np.array([7, *ids], dtype=np.int64) for ids in made]


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_hold_every_sequence_once_within_the_budget(lengths: list[int], budget: int) -> None:
    """Only what is longer than the budget exceeds it, and then alone."""
    batches = fill(lengths, budget)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= budget


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(50, 120))
def test_batches_are_well_filled(lengths: list[int], budget: int) -> None:
    """No two of them would fit into one."""
    batches = fill(lengths, budget)

    filled = sorted(sum(lengths[index] for index in batch) for batch in batches)
    assert len(filled) == 1 or filled[0] + filled[1] > budget


@given(st.lists(pieces, min_size=1, max_size=12), st.booleans())
def test_every_sequence_can_be_read_out_of_its_row(chosen: list[list[int]], shared: bool) -> None:
    """Its ids and positions stand in its places, which are those of the segments it goes on from."""
    sequences = branching(chosen)
    layout = lay_out(sequences, shared=shared)

    above = {-1: np.zeros(0, dtype=np.int64)}
    for segment, parent in enumerate(layout.parents.tolist()):
        assert parent < segment
        own = np.arange(layout.boundaries[segment], layout.boundaries[segment + 1])
        assert len(own)
        above[segment] = np.concatenate([above[parent], own])
    paths = {tuple(path.tolist()) for path in above.values()}
    for ids, places in zip(sequences, layout.places, strict=True):
        assert layout.ids[places].tolist() == ids.tolist()
        assert layout.positions[places].tolist() == list(range(len(ids)))
        assert tuple(places.tolist()) in paths


@given(st.lists(pieces, min_size=1, max_size=12))
def test_nothing_long_stands_there_twice(chosen: list[list[int]]) -> None:
    """Two segments that go on from the same one do not both begin with as much as is worth sharing."""
    layout = lay_out(branching(chosen), shared=True)

    seen = set()
    for segment, parent in enumerate(layout.parents.tolist()):
        begin, end = layout.boundaries[segment], layout.boundaries[segment + 1]
        start = (parent, layout.ids[begin : min(end, begin + SHORTEST_SHARED)].tobytes())
        assert end - begin < SHORTEST_SHARED or start not in seen
        seen.add(start)


@given(st.lists(pieces, min_size=1, max_size=12), st.integers(50, 300))
@example([[1], [2, 0], [0, 0, 0, 0], [2, 0, 0, 1], [2, 1]], 203)  # some share a little more than the others
def test_shared_batches_keep_to_the_budget(chosen: list[list[int]], budget: int) -> None:
    """Counted as they are laid out."""
    sequences = branching(chosen)
    batches = plan_batches(sequences, budget, shared=True)

    assert sorted(index for batch in batches for index in batch) == list(range(len(sequences)))
    for batch in batches:
        row = lay_out([sequences[index] for index in batch], shared=True)
        assert len(batch) == 1 or len(row.ids) <= budget


def test_log_probabilities_and_gradients_are_those_of_the_sequences_alone(tmp_path) -> None:
    """Attempts at a prompt, retries of a turn, a sequence that is the beginning of another, and one of its own."""
    path = tiny_model(tmp_path, seed=1)
    start, turn = [*range(40)], [*range(50, 90)]
    calls = [
        call(start, [1, 2, 3]),
        call(start, [1, 2, 4], episode=1),
        call([*start, 9, *turn], [5, 6], episode=2),
        call([*start, 9, *turn], [5, 7, 8], episode=3),
        call([*start, 9, *turn, 5, 6], [3], episode=4),
        call([8, 9], [1, 2], episode=5),
    ]
    sequences = build_sequences(calls)
    found = []
    for shared in (False, True):
        tokens = SampledTokens(load_policy(path))
        batch = collate(sequences, np.ones(6), np.ones(6), device=torch.device("cpu"), shared=shared)
        logprobs, entropies, _ = tokens(*batch.inputs)
        (logprobs * torch.arange(len(logprobs))).sum().backward()
        gradients = torch.cat([weight.grad.flatten() for weight in tokens.parameters() if weight.grad is not None])
        found.append((logprobs.detach(), entropies, gradients, batch.input_ids.numel()))
    for one, other in zip(found[0][:3], found[1][:3], strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert found[0][3] > 1.9 * found[1][3]
