import asyncio
import math
from typing import Any

import pytest

from foundation.errors import ExitStatus
from serve.change.parity import NUM_TOKENS, check_parity, check_processed
from serve.change.proof import ProbeFailed
from train.schema import Probe

PROBE = Probe(prompt_token_ids=[1, 2], response_token_ids=[3], logprobs=[-1.0])


class TwoHalves:
    """An engine that writes with one set of weights and reads with another: a number stands for each."""

    name = "base"
    url = "http://replica"

    def __init__(self, *, writes: float, reads: float) -> None:
        self.parts = (self,)
        self.writes, self.reads = writes, reads
        self.asked: list[Any] = []

    async def complete(self, prompt: list[int], **asked: Any) -> dict[str, Any]:
        self.asked.append((prompt, asked["model"], asked["max_tokens"]))
        ids = list(range(asked["max_tokens"]))
        return {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": [self.writes] * len(ids)}}]}

    async def score(self, _: list[int], response: list[int], __: str | None) -> list[float]:
        return [self.reads] * len(response)


def test_an_engine_that_writes_as_it_reads_passes() -> None:
    """Every probe's prompt is continued, under the name that is asked about."""
    engine = TwoHalves(writes=-0.5, reads=-0.5)

    asyncio.run(check_parity(engine, [PROBE, PROBE], "float32", "base+one"))  # type: ignore[arg-type]

    assert engine.asked == [([1, 2], "base+one", NUM_TOKENS)] * 2


def test_an_engine_that_samples_from_stale_weights_is_refused() -> None:
    """Though it reads with the new ones, as the probes have shown."""
    engine = TwoHalves(writes=-0.5, reads=-0.9)

    with pytest.raises(ProbeFailed, match="other weights than it reads with") as refused:
        asyncio.run(check_parity(engine, [PROBE], "bfloat16"))  # type: ignore[arg-type]

    assert refused.value.exit_status is ExitStatus.REFUSED


def test_log_probabilities_from_before_truncation_are_refused() -> None:
    """As vLLM reports them by default: the only token left is certain, and it says otherwise. The hint is the flag."""
    asyncio.run(check_processed(TwoHalves(writes=-0.0, reads=-0.5), [PROBE]))  # type: ignore[arg-type]

    with pytest.raises(ProbeFailed, match="http://replica") as refused:
        asyncio.run(check_processed(TwoHalves(writes=-0.5, reads=-0.5), [PROBE]))  # type: ignore[arg-type]

    assert "processed_logprobs" in str(refused.value.hint)


@pytest.mark.parametrize(("number", "is_taken"), [(2, True), (3, True), (2.5, False)])
def test_tokens_that_are_exactly_as_likely_share_what_is_certain(number: float, is_taken: bool) -> None:
    """In bfloat16 the two likeliest logits of an ordinary model are often one number, and `top_k` 1 keeps both."""
    probe = check_processed(TwoHalves(writes=-math.log(number), reads=-0.5), [PROBE])  # type: ignore[arg-type]

    if is_taken:
        asyncio.run(probe)
    else:
        with pytest.raises(ProbeFailed, match=r"-0\.916"):
            asyncio.run(probe)
