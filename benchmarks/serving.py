"""Generated tokens a second of a running gateway, at several numbers of concurrent requests.

python benchmarks/serving.py http://127.0.0.1:8000 MODEL
"""

import argparse
import asyncio
import time

import aiohttp

TOKENS = 48
"""Forced length of every answer."""


async def measure(session: aiohttp.ClientSession, url: str, model: str, concurrency: int) -> float:
    """Return generated tokens a second over four rounds of requests, at least sixteen of them."""
    left = max(4 * concurrency, 16)
    counts: list[int] = []

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"What is {left} times 4?"}],
                "max_tokens": TOKENS,
                "ignore_eos": True,
            }
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                response.raise_for_status()
                counts.append((await response.json())["usage"]["completion_tokens"])

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return sum(counts) / (time.perf_counter() - began)


async def main() -> None:
    """Print one line a level of concurrency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    arguments = parser.parse_args()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await measure(session, arguments.url, arguments.model, 1)
        for concurrency in (1, 8, 32, 64):
            rate = await measure(session, arguments.url, arguments.model, concurrency)
            print(f"{concurrency:3} concurrent: {rate:7.0f} tokens/s")


if __name__ == "__main__":
    asyncio.run(main())
