"""What was read once is not read again, and nobody notices: rows begin alike, come, grow and leave in any order."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from serve.engines.embedded.cache import Memory, Remembered, choose_attention
from serve.engines.embedded.generation import Batch, Row, Token
from serve.sampling import Sampling
from tests.serving import fresh_logprobs


@pytest.fixture(scope="module")
def model(path: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    choose_attention(model)
    return model


class Counting:
    """A model that counts the tokens it is given."""

    def __init__(self, model: Any) -> None:
        self.model, self.num_tokens = model, 0

    def __call__(self, input_ids: torch.Tensor, **others: Any) -> Any:
        self.num_tokens += input_ids.numel()
        return self.model(input_ids=input_ids, **others)


def row(prompt: list[int], num_tokens: int) -> Row:
    return Row(prompt, Sampling(max_tokens=num_tokens), frozenset(), deliver=lambda _: None, fail=lambda _: None)


def finish(batch: Batch, tokens: dict[int, list[Token]]) -> None:
    while batch.rows:
        for owner, token in batch.step():
            tokens.setdefault(id(owner), []).append(token)


@pytest.mark.parametrize("seed", range(6))
def test_any_mix_of_rows_is_sampled_as_each_alone(model: Any, path: Path, seed: int) -> None:
    """Prompts that begin alike, go on from an answer, or are the same, at any step: log-probabilities are their own."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    batch, tokens, done = Batch(model), dict[int, list[Token]](), list[Row]()
    for _ in range(6):
        arriving = []
        for _ in range(choose.randrange(5)):
            prompt = [choose.randrange(256) for _ in range(choose.choice([1, 3, 40]))]
            if done and choose.random() < 0.7:
                known = choose.choice(done)
                whole = [*known.prompt, *known.sampled]
                prompt = whole[: choose.randrange(1, len(whole) + 1)] + prompt * choose.randrange(2)
            arriving += [row(prompt, choose.randrange(1, 90)) for _ in range(choose.choice([1, 1, 3]))]
        sampled = batch.admit(arriving) if arriving else []
        done += arriving
        for _ in range(choose.randrange(30)):
            sampled += batch.step() if batch.rows else []
        for owner, token in sampled:
            tokens.setdefault(id(owner), []).append(token)
    finish(batch, tokens)

    for each in done:
        got = tokens[id(each)]
        assert len(got) == each.sampling.max_tokens
        expected = fresh_logprobs(path, each.prompt, [token.id for token in got])
        assert [token.logprob for token in got] == pytest.approx(expected, abs=2e-4)


def test_attempts_at_one_prompt_and_the_next_turn_cost_what_is_new(model: Any) -> None:
    """Eight attempts read their prompt once; the turn after an answer reads what was added to it."""
    counting = Counting(model)
    batch, prompt = Batch(counting), list(range(100))
    attempts = [row(prompt, 4) for _ in range(8)]
    batch.admit(attempts)
    assert counting.num_tokens == 100
    finish(batch, {})

    counting.num_tokens = 0
    batch.admit([row([*prompt, *attempts[3].sampled, 7, 8], 1)])
    assert counting.num_tokens == 3  # the last sampled token was not read yet

    batch.change_model(counting)
    counting.num_tokens = 0
    batch.admit([row(prompt, 1)])
    assert counting.num_tokens == 100  # other weights: nothing known holds


def test_what_another_head_reads_is_not_copied_and_comes_out_the_same(model: Any, path: Path) -> None:
    """Grouped attention against transformers' own, over a cache with padding."""
    usual = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    assert usual.config._attn_implementation == "sdpa"
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    ids = torch.tensor([[0, 0, 5, 6, 7], [1, 2, 3, 4, 5]])
    with torch.inference_mode():
        first = [one(input_ids=ids[:, :-1], attention_mask=mask[:, :-1]) for one in (usual, model)]
        logits = [
            one(
                input_ids=ids[:, -1:],
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1)[:, -1:],
                past_key_values=copy.deepcopy(first[0].past_key_values),
            ).logits
            for one in (usual, model)
        ]
    assert torch.allclose(*logits, atol=1e-5)


def remembered(num_tokens: int) -> Remembered:
    return [(torch.zeros(1, num_tokens, 2), torch.zeros(1, num_tokens, 2))]


def test_memory_is_bounded_and_forgets_what_was_longest_unused() -> None:
    one = [1] * 10
    memory = Memory(max_bytes=3 * 10 * 2 * 2 * 4)
    for first in (1, 2, 3):
        memory.add([first] * 10, remembered(10))
    assert memory.find([*one, 5])[0] == 10
    memory.add([4] * 10, remembered(10))
    assert len(memory) == 3
    assert memory.find([2] * 11)[0] == 0
    assert memory.find([*one, 5])[0] == 10
    memory.add([9] * 1000, remembered(1000))  # larger than all of it
    assert len(memory) == 3


def test_memory_holds_no_more_texts_than_can_be_looked_through() -> None:
    memory = Memory()
    for first in range(300):
        memory.add([first] * 10, remembered(10))
    assert len(memory) == 256
    assert memory.find([0] * 11)[0] == 0
    assert memory.find([299] * 11)[0] == 10


def test_the_longest_known_beginning_is_found_and_never_all_of_a_prompt() -> None:
    """The last token of a prompt is always read: what follows it is what was asked for."""
    memory = Memory()
    memory.add(range(20), remembered(20))
    memory.add([*range(30), 99], remembered(31))
    assert memory.find([*range(30), 7])[0] == 30
    assert memory.find(list(range(20)))[0] == 19
    assert memory.find([*range(9), 50, 51])[0] == 9
    assert memory.find([50, *range(20)]) == (0, None)
    assert memory.find([1])[0] == 0
