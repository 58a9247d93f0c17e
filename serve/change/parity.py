"""Whether an engine samples from the weights it reads with.

The probes are read whole, in one pass; answers are made token by token, in another part of the engine: with a cache of
keys and values, with captured graphs, with kernels of its own. After a change of weights one may be right and the other
stale. So the engine continues the probes greedily and is then asked to read what it wrote: both must agree. Together
with the probes, which hold the reading to the trainer's own log-probabilities, that holds the writing to them too.
"""

import asyncio
import math
from collections.abc import Sequence

from serve.change.proof import ProbeFailed, is_within, measure
from serve.engines.engine import Engine, asked_for
from train.schema import Probe

NUM_TOKENS = 16
"""Tokens continued: enough that a stale weight shows, few enough to be asked while calls wait."""


async def check_parity(engine: Engine, probes: Sequence[Probe], dtype: str, model: str | None = None) -> None:
    """Raise `ProbeFailed` when an engine, or a part of one, writes otherwise than it reads."""
    for part in engine.parts:
        written, read = await _continue_all(part, probes, model)
        difference = measure(written, read)
        if not is_within(difference, dtype):
            raise ProbeFailed(
                f"the engine samples from other weights than it reads with: log-probabilities of {len(written)} tokens "
                f"it chose itself are off by {difference.mean:.6f} on average and {difference.max:.6f} at most",
                hint="Restart the engine on this checkpoint; report it to whoever makes the engine.",
            )


async def _continue_all(part: Engine, probes: Sequence[Probe], model: str | None) -> tuple[list[float], list[float]]:
    pairs = await asyncio.gather(*(_continue(part, probe.prompt_token_ids, model) for probe in probes))
    return [each for written, _ in pairs for each in written], [each for _, read in pairs for each in read]


async def _continue(part: Engine, prompt: list[int], model: str | None) -> tuple[list[float], list[float]]:
    answer = await part.complete(
        prompt,
        max_tokens=NUM_TOKENS,
        model=model or part.name,
        logprobs=0,
        return_token_ids=True,
        ignore_eos=True,
    )
    logprobs = asked_for(answer, "logprobs")["token_logprobs"]
    return logprobs, await part.score(prompt, asked_for(answer, "token_ids"), model)


CERTAIN = 1e-3
"""Natural log: how far the log-probability of a token may be from what the tokens that could be sampled say."""

MOST_ALIKE = 8
"""Tokens that may be the likeliest one together: in bfloat16 logits are often equal, and `top_k` 1 keeps them all."""


async def check_processed(engine: Engine, probes: Sequence[Probe], model: str | None = None) -> None:
    """Raise `ProbeFailed` when an engine's log-probabilities are not of the distribution it samples from.

    With `top_k` 1 that has one token, whose probability is 1, or the few that are exactly as likely, and share it. An
    engine that reports the distribution before temperature and truncation says less, and every span would claim what is
    not so.
    """
    for part in engine.parts:
        answer = await part.complete(
            probes[0].prompt_token_ids,
            max_tokens=NUM_TOKENS,
            temperature=1,
            top_k=1,
            model=model or part.name,
            logprobs=0,
            ignore_eos=True,
        )
        logprobs = asked_for(answer, "logprobs")["token_logprobs"]
        wrong = [each for each in logprobs if not _distance_to_alike(each) <= CERTAIN]
        if wrong:
            raise ProbeFailed(
                f"{part.url} reports log-probabilities of another distribution than it samples from: "
                f"{min(wrong):.3f} for a token that was certain",
                hint="Start vLLM with --logprobs-mode processed_logprobs.",
            )


def _distance_to_alike(logprob: float) -> float:
    """Return how far a log-probability is from that of one of a few tokens which are all alike.

    >>> _distance_to_alike(-0.6931471805599453)
    0.0
    """
    return min(abs(logprob + math.log(number)) for number in range(1, MOST_ALIKE + 1))
