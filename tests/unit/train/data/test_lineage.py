"""Lineage: calls that continue one another share a sequence, and no sampled token trains twice."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etl.schema import SetAside
from tests.unit.train.calls import call
from train.data.lineage import UNTRAINED, Start, build_sequences
from train.data.logged import Call


def test_a_conversation_becomes_one_sequence() -> None:
    """Each prompt continues the one before with its answer: two calls, one forward pass."""
    sequences = build_sequences([call([1, 2], [3, 4]), call([1, 2, 3, 4, 5], [6], turn=1)])

    assert [sequence.ids.tolist() for sequence in sequences] == [[1, 2, 3, 4, 5, 6]]
    assert sequences[0].call.tolist() == [UNTRAINED, UNTRAINED, 0, 0, UNTRAINED, 1]
    assert sequences[0].start is Start.FIRST


def test_a_fork_shares_its_trunk_and_trains_it_once() -> None:
    """Two calls continue the same one: the second sequence has the shared answer as context only."""
    sequences = build_sequences([call([1], [2]), call([1, 2, 3], [4]), call([1, 2, 5], [6])])

    assert [sequence.call.tolist() for sequence in sequences] == [[-1, 0, -1, 1], [-1, -1, -1, 2]]
    assert sequences[1].start is Start.BRANCH


def test_a_retokenised_answer_starts_a_sequence_of_its_own() -> None:
    """The same text came back as other ids; nothing is repaired."""
    sequences = build_sequences([call([1, 2], [3, 4]), call([1, 2, 34, 5], [6])])

    assert [sequence.start for sequence in sequences] == [Start.FIRST, Start.RETOKENIZED]
    assert [sequence.ids.tolist() for sequence in sequences] == [[1, 2, 3, 4], [1, 2, 34, 5, 6]]


def test_a_rewritten_history_starts_a_sequence_of_its_own() -> None:
    """The prompts part inside the first prompt."""
    sequences = build_sequences([call([1, 2], [3]), call([1, 9, 3], [6])])

    assert sequences[1].start is Start.REWRITTEN


def test_interleaved_agents_keep_their_own_sequences() -> None:
    """Two conversations in one episode, taking turns."""
    sequences = build_sequences(
        [call([1], [2]), call([7], [8], agent="other"), call([1, 2, 3], [4]), call([7, 8, 9], [5], agent="other")]
    )

    assert [sequence.ids.tolist() for sequence in sequences] == [[1, 2, 3, 4], [7, 8, 9, 5]]


def test_the_deepest_call_is_continued() -> None:
    """A prompt that continues two calls of one chain continues the later one."""
    sequences = build_sequences([call([1], [2]), call([1, 2], [3]), call([1, 2, 3], [4])])

    assert [sequence.call.tolist() for sequence in sequences] == [[-1, 0, 1, 2]]


def test_episodes_never_share_a_sequence() -> None:
    """The same ids in another episode are another sample."""
    assert len(build_sequences([call([1], [2]), call([1, 2], [3], episode=1)])) == 2


def test_calls_set_aside_train_nothing() -> None:
    """They appear only where another call's prompt contains them."""
    sequences = build_sequences([call([1], [2], set_aside=SetAside.OTHER_AGENT), call([1, 2, 3], [4])])

    assert [sequence.call.tolist() for sequence in sequences] == [[-1, -1, -1, 1]]


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> list[Call]:
    """Draw calls that often, but not always, continue an earlier one."""
    calls: list[Call] = []
    for _ in range(draw(st.integers(1, 8))):
        prompt = draw(tokens)
        if calls and draw(st.booleans()):
            base = draw(st.sampled_from(calls))
            prompt = [*base.prompt_ids.tolist(), *base.response_ids.tolist(), *draw(st.just([]) | tokens)]
        calls.append(call(prompt, draw(tokens), episode=len(calls) // 5))
    return calls


@given(conversations())
def test_every_sampled_token_trains_once_and_sees_its_own_prompt(calls: list[Call]) -> None:
    """Whatever the forest: each call's response is trained in one sequence, right behind its exact prompt."""
    sequences = build_sequences(calls)

    trained = Counter(int(index) for sequence in sequences for index in sequence.call if index != UNTRAINED)
    assert trained == {index: len(each.response_ids) for index, each in enumerate(calls)}
    for sequence in sequences:
        for index in sequence.calls:
            begin = int(np.flatnonzero(sequence.call == index)[0])
            assert sequence.ids[:begin].tolist() == calls[index].prompt_ids.tolist()
            assert sequence.ids[sequence.call == index].tolist() == calls[index].response_ids.tolist()
