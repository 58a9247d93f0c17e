"""Tokens a CPU-second of the embedded engine where attempts share a prompt, beside Transformers' own `generate`.

    python -m benchmarks.serving.attempts --model build/models/smollm2-135m-instruct

Without HTTP and JSON: what the batch itself costs. Prompts are random ids; reading them counts.
"""

import argparse
import asyncio
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from serve.engines.embedded.generation import Generator, Row, Token
from serve.engines.embedded.models import load_model
from serve.sampling import Sampling


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=330)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model)
    choose = random.Random(1)
    num_rows = arguments.prompts * arguments.attempts

    def prompts(distinct: int) -> list[list[int]]:
        made = [[choose.randrange(3, 200) for _ in range(arguments.prompt_tokens)] for _ in range(distinct)]
        return [prompt for prompt in made for _ in range(num_rows // distinct)]

    found: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):  # in turns: the machine is not the same a minute later
        for name, distinct in (("attempts share a prompt", arguments.prompts), ("every prompt its own", num_rows)):
            spent = asyncio.run(_generate(model, prompts(distinct), arguments.new_tokens))
            found.setdefault(name, []).append(num_rows * arguments.new_tokens / spent)
        spent = _transformers(model, prompts(num_rows), arguments.new_tokens)
        found.setdefault("transformers' generate", []).append(num_rows * arguments.new_tokens / spent)
    print(f"{num_rows} rows, prompts of {arguments.prompt_tokens} tokens, {arguments.new_tokens} new ones each")
    for name, rates in found.items():
        print(f"{name:28} {statistics.median(rates):6.0f} new tokens a CPU-second  {[round(rate) for rate in rates]}")


async def _generate(model: Any, prompts: list[list[int]], num_tokens: int) -> float:  # noqa: ANN401
    generator = Generator(model)
    running = asyncio.create_task(generator.run())
    num_open, done = len(prompts), asyncio.Event()

    def deliver(token: Token) -> None:
        nonlocal num_open
        num_open -= token.finish_reason is not None
        if not num_open:
            done.set()

    def fail(error: Exception) -> None:
        raise error

    began = time.process_time()
    for prompt in prompts:
        sampling = Sampling(max_tokens=num_tokens, ignore_eos=True)
        generator.submit(Row(prompt, sampling, frozenset(), deliver, fail))
    await done.wait()
    running.cancel()
    return time.process_time() - began


def _transformers(model: Any, prompts: list[list[int]], num_tokens: int) -> float:  # noqa: ANN401
    ids = torch.tensor(prompts)
    began = time.process_time()
    model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, min_new_tokens=num_tokens,
        max_new_tokens=num_tokens, pad_token_id=0,
    )  # fmt: skip
    return time.process_time() - began


if __name__ == "__main__":
    main()
