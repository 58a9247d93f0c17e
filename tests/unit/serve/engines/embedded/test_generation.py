"""Continuous batching against Transformers' own forward pass: a row is sampled exactly, whatever runs beside it."""

import asyncio
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from serve.engines.embedded.generation import Batch, Generator, Row, Token, processed_logits, sample
from serve.sampling import Sampling
from tests.fakes import tiny_model
from tests.serving import fresh_logprobs


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture(scope="module")
def model(model_path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()


def row(prompt: list[int], **sampling: Any) -> Row:
    return Row(prompt, Sampling(**sampling), frozenset(), deliver=lambda _: None, fail=lambda _: None)


def run(model: Any, arrivals: dict[int, list[Row]]) -> dict[int, list[Token]]:
    """Admit rows before the steps they arrive at, step until all are done; return the tokens by row."""
    batch = Batch(model)
    tokens: dict[int, list[Token]] = {}
    step = 0
    while arrivals or batch.rows:
        sampled = batch.step() if batch.rows else []
        if arriving := arrivals.pop(step, []):
            sampled += batch.admit(arriving)
        for owner, token in sampled:
            tokens.setdefault(id(owner), []).append(token)
        step += 1
    return tokens


def test_rows_that_join_and_leave_at_different_steps_keep_their_own_logprobs(model: Any, model_path: Path) -> None:
    """Ids and log-probabilities equal a fresh forward pass over each sequence alone, within 1e-4."""
    torch.manual_seed(0)
    rows = [row(list(range(1, 2 + 5 * place)), max_tokens=3 + 4 * (place % 3)) for place in range(6)]

    tokens = run(model, {0: rows[:2], 2: rows[2:3], 5: rows[3:]})

    for each in rows:
        got = tokens[id(each)]
        assert len(got) == each.sampling.max_tokens
        assert [token.finish_reason for token in got] == [None] * (len(got) - 1) + ["length"]
        expected = fresh_logprobs(model_path, each.prompt, [token.id for token in got])
        assert [token.logprob for token in got] == pytest.approx(expected, abs=1e-4)


def test_rows_go_on_when_others_are_broken_off(model: Any, model_path: Path) -> None:
    """Clients leave in the middle, first and last of the batch among them; the others' answers stay their own."""

    async def scenario() -> None:
        generator = Generator(model)
        running = asyncio.create_task(generator.run())
        rows, tokens, over = [], dict[int, list[Token]](), [asyncio.Event() for _ in range(6)]

        def deliver(place: int, token: Token) -> None:
            tokens.setdefault(place, []).append(token)
            if place in (0, 2, 5) and len(tokens[place]) == 3 + place:
                rows[place].is_cancelled = True
            elif token.finish_reason:
                over[place].set()

        for place in range(6):
            each = row(list(range(1, 4 + 3 * place)), max_tokens=15)
            rows.append(replace(each, deliver=partial(deliver, place)))
            generator.submit(rows[-1])
        waiting = asyncio.gather(*(over[place].wait() for place in (1, 3, 4)))
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), running.exception()
        running.cancel()
        for place in (1, 3, 4):
            expected = fresh_logprobs(model_path, rows[place].prompt, [token.id for token in tokens[place]])
            assert [token.logprob for token in tokens[place]] == pytest.approx(expected, abs=1e-4)

    asyncio.run(scenario())


def test_a_greedy_row_is_the_same_alone_and_in_company(model: Any) -> None:
    """Others in the batch do not change an answer."""
    alone, joined = row([1, 2, 3], temperature=0, max_tokens=8), row([1, 2, 3], temperature=0, max_tokens=8)
    by_itself = run(model, {0: [alone]})[id(alone)]

    together = run(model, {0: [row([9] * 20, max_tokens=12)], 1: [joined]})[id(joined)]

    assert [token.id for token in together] == [token.id for token in by_itself]


def test_a_seeded_row_repeats_itself_whatever_runs_beside_it(model: Any) -> None:
    """Each seeded row draws from a generator of its own."""
    rows = [row([1, 2, 3], seed=7, max_tokens=8) for _ in range(2)]
    first = run(model, {0: [rows[0]]})[id(rows[0])]

    second = run(model, {0: [row([4, 5], max_tokens=3), rows[1]]})[id(rows[1])]

    assert [token.id for token in second] == [token.id for token in first]


def test_a_row_ends_at_its_end_of_sequence_token(model: Any) -> None:
    """The token itself is sampled and reported; `ignore_eos` goes on."""
    greedy = row([1, 2, 3], temperature=0, max_tokens=8)
    third = run(model, {0: [greedy]})[id(greedy)][2].id
    ending, ignoring = (row([1, 2, 3], temperature=0, max_tokens=8, ignore_eos=ignore) for ignore in (False, True))
    ending.eos_ids = ignoring.eos_ids = frozenset({third})

    tokens = run(model, {0: [ending, ignoring]})

    assert tokens[id(ending)][-1].finish_reason == "stop"
    assert tokens[id(ending)][-1].id == third
    assert len(tokens[id(ignoring)]) == 8


def probabilities(logits: list[float], **sampling: Any) -> list[float]:
    processed = processed_logits(torch.tensor([logits]), [Sampling(**sampling)])
    return [round(value, 4) for value in processed.softmax(-1)[0].tolist()]


def test_truncation_by_hand() -> None:
    """Probabilities 0.5, 0.3, 0.2 cut by each rule and made to sum to one again."""
    logits = [math.log(0.2), math.log(0.5), math.log(0.3)]

    assert probabilities(logits) == [0.2, 0.5, 0.3]
    assert probabilities(logits, top_k=1) == [0, 1, 0]
    assert probabilities(logits, top_k=2) == [0, 0.625, 0.375]
    assert probabilities(logits, top_p=0.6) == [0, 0.625, 0.375]  # the token that crosses the line stays
    assert probabilities(logits, top_p=0.5) == [0, 1, 0]
    assert probabilities(logits, min_p=0.5) == [0, 0.625, 0.375]  # at least half of the likeliest
    assert probabilities(logits, temperature=0.5) == [0.1053, 0.6579, 0.2368]  # squares: 4, 25, 9 of 38


def test_samples_follow_the_distribution() -> None:
    """20,000 draws from 0.2, 0.5, 0.3: each share within four standard errors."""
    torch.manual_seed(1)
    num_draws = 20_000
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log().expand(num_draws, 3)

    ids, logprobs = sample(logits, [row([1])] * num_draws)

    shares = ids.bincount(minlength=3) / num_draws
    for share, probability in zip(shares.tolist(), (0.2, 0.5, 0.3), strict=True):
        assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / num_draws)
    assert logprobs[0].exp().tolist() == pytest.approx([0.2, 0.5, 0.3])
