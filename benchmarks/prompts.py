"""Whether a better prompt is found where there is one, and none where there is none.

    python -m benchmarks.prompts
    make model && python -m benchmarks.prompts --model build/models/smollm2-135m-instruct --tasks 16

The agent of `tests.prompted` adds numbers and earns nothing for the form its prompt leaves out. Its calls are logged,
`spanloop prompts optimise`'s own search looks for a better prompt with a reflecting model by script, the version is
promoted, and the agent is asked new questions live, through a gateway, before and after. Then the same with rewards by
lot, twenty times: nothing may be found better.

With --model the command itself is run once, and a model on disk is both: it reflects, behind its URL, and answers under
proposals, as the gateway of the same directory. What a small one finds is not said beforehand.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from serve.prompts import registry
from serve.prompts.loading import load, open_prompting
from spanloop.processes import StageFailed, run_stage
from spanloop.prompts.judged import sign_flip
from spanloop.prompts.optimise import Material, gather, look, prove
from spanloop.prompts.settings import OptimiseConfig
from spanloop.replay.scoring import Score
from spanloop.replay.states import State
from spanloop.replay.trial import Trial, attempt
from tests.gateway import ANSWER, Bench, run
from tests.prompted import BASE, DAYS, ByLot, Reflecting, agent, answer, by_worth, log_calls, question_of, worth
from tests.served import serving

LIVE_FROM = 1000
"""Questions from here on were never logged."""


def found_in(data: Path, score: Score, *, seed: int) -> tuple[OptimiseConfig, Material, str | None, Any]:
    """Return what a search finds, and the verdict on it."""
    config = OptimiseConfig(data=data, agent="adder", reflect="-", base=data / "base.txt", seed=seed)
    material = gather(config)

    def replay(states: Sequence[State]) -> Trial:
        return attempt(states, agent, score, seed=seed, concurrency=1)

    text, _ = look(config, material, replay, score, Reflecting())
    return config, material, text, None if text is None else prove(config, material, text, replay)


def live(data: Path, text: str, num_questions: int) -> tuple[list[float], list[float]]:
    """Return what new questions earn through a gateway, before a version is promoted and after."""
    earned: tuple[list[float], list[float]] = [], []

    async def scenario(one: Bench) -> None:
        async def complete(http: web.Request) -> web.StreamResponse:
            system, question = (message["content"] for message in (await http.json())["messages"][:2])
            message = {"role": "assistant", "content": answer(system, question, seed=0)}
            return web.json_response(ANSWER | {"choices": [ANSWER["choices"][0] | {"message": message}]})

        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        one.gateway.prompting = open_prompting(data)
        for values in earned:
            for number in range(LIVE_FROM, LIVE_FROM + num_questions):
                system, question = BASE.replace("{{day}}", DAYS[number % 3]), question_of(number)
                messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
                _, got, _ = await one.ask(messages=messages)
                values.append(worth(question, got["choices"][0]["message"]["content"]))
            if values is earned[0]:
                version = registry.keep(data, "adder", text, base=BASE, origin="optimise").number
                registry.promote(data, "adder", version)
                one.gateway.prompting.take(load(data))
        await runner.cleanup()

    run(scenario)
    return earned


def by_model(model: Path, num_tasks: int) -> None:
    """Have a model on disk reflect and answer, by the commands alone, and print what came of it."""
    with tempfile.TemporaryDirectory() as name:
        data = log_calls(Path(name) / "data", num_tasks=num_tasks)
        (data / "base.txt").write_text(BASE)
        with serving(data, "--model", str(model), "--engine", "embedded", timeout_s=900) as served:
            began = time.monotonic()
            try:
                report = run_stage(
                    *("prompts", "optimise", "--agent", "adder", "--data", str(data), "--base", str(data / "base.txt")),
                    *("--reflect", f"{served.url}/v1", "--score", "checks", "--proposals", "2", "--calls", "32"),
                )
            except StageFailed as failed:
                print(f"{time.monotonic() - began:.0f} s, status {int(failed.exit_status)}: {failed.said.strip()}")
                return
        told = {key: report.get(key) for key in ("num_proposals", "refused_proposals", "text", "judged", "version")}
        print(f"{time.monotonic() - began:.0f} s: {told}")


def main() -> None:
    """Print what was found, with real rewards and with rewards by lot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", type=Path, help="model directory that reflects and answers")
    arguments = parser.parse_args()
    if arguments.model is not None:
        by_model(arguments.model, arguments.tasks)
        return
    for seed in range(3):
        with tempfile.TemporaryDirectory() as name:
            data = log_calls(Path(name) / "data", num_tasks=arguments.tasks)
            (data / "base.txt").write_text(BASE)
            _, _, text, judged = found_in(data, by_worth, seed=seed)
            assert text is not None, "nothing was found"
            before, after = live(data, text, arguments.tasks)
        tasks = [str(number) for number in range(len(before))]
        p_value = sign_flip(tasks, [late - early for early, late in zip(before, after, strict=True)])
        print(
            f"seed {seed}: replayed {judged.before:.2f} -> {judged.after:.2f}, p = {judged.p_value:.1g}; "
            f"live {sum(before) / len(before):.2f} -> {sum(after) / len(after):.2f}, p = {p_value:.1g}"
        )
    num_found = num_better = 0
    for seed in range(arguments.runs):
        with tempfile.TemporaryDirectory() as name:
            data = log_calls(Path(name) / "data", num_tasks=arguments.tasks)
            (data / "base.txt").write_text(BASE)
            _, _, text, judged = found_in(data, ByLot(seed), seed=seed)
        num_found += text is not None
        num_better += judged is not None and judged.is_better
    print(f"rewards by lot: {num_found} of {arguments.runs} searches came to a proposal, {num_better} proved better")


if __name__ == "__main__":
    main()
