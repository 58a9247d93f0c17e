r"""Lets the searching agent attempt questions of several hops and says in its traces how each attempt went.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \
        python -m examples.musique.collect --datasets DIR --split dev --episodes 32

Tracing is OpenInference's of the Agents SDK, and OpenTelemetry's own of the HTTP client, which carries the trace to the
model's endpoint. Prints a summary as JSON.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents import Runner, ToolCallOutputItem
from agents.exceptions import AgentsException, MaxTurnsExceeded
from agents.mcp import MCPServerStdio
from openai import AsyncOpenAI
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

from examples.attempts import Grade, open_telemetry
from examples.musique.agent import build
from examples.musique.answers import answer_reward, best_f1, exact_match, extract, support_recall
from examples.musique.questions import Question, load, read_corpus, shown
from examples.orders import Playing, arguments, main

ROOT = Path(__file__).parents[2]


class Musique:
    """Retrieval over several hops."""

    def tasks(self, options: argparse.Namespace) -> Sequence[Question]:
        """Return the questions of a split."""
        return load(options.datasets, options.split, hops=options.hops, decomposed=options.decomposed)

    @asynccontextmanager
    async def playing(self, options: argparse.Namespace) -> AsyncIterator[Playing]:
        """Start the retrieval server, let the agent answer, and grade its answer or what it found."""
        places = {shown(one, options.paragraph_chars): one.id for one in read_corpus(options.datasets)}
        command = ["-m", "examples.musique.retrieval", "--datasets", str(options.datasets)]
        command += ["--top-k", str(options.top_k), "--paragraph-chars", str(options.paragraph_chars)]
        server = {"command": sys.executable, "args": command, "cwd": str(ROOT), "env": {**os.environ}}
        async with (
            MCPServerStdio(server, cache_tools_list=True, client_session_timeout_seconds=60) as retrieval,
            AsyncOpenAI() as client,
        ):
            agent = build(
                client,
                retrieval,
                model=options.model,
                temperature=options.temperature,
                max_tokens=options.max_tokens,
            )

            async def play(question: Question) -> Grade:
                try:
                    result = await Runner.run(agent, question.text, max_turns=(options.hops or 4) + 1)
                    said, items = str(result.final_output), result.new_items
                except MaxTurnsExceeded as error:
                    said, items = "", error.run_data.new_items if error.run_data else []
                except AgentsException as error:  # such as a call of a tool that is not there
                    if error.run_data is None:
                        raise
                    said, items = "", error.run_data.new_items
                return judge(question, said, found_in(items, places), by=options.reward)

            async def is_sound() -> bool:
                if retrieval.session is not None:
                    await retrieval.session.send_ping()
                return retrieval.session is not None

            yield Playing(play, is_sound)


def found_in(items: Iterable[Any], places: dict[str, str]) -> list[str]:
    """Return the ids of the paragraphs that the tool's results show."""
    lines = (line for item in items if isinstance(item, ToolCallOutputItem) for line in _text(item.output).splitlines())
    return [places[line] for line in lines if line in places]


def _text(output: object) -> str:
    if isinstance(output, dict):
        return str(output.get("text", ""))
    if isinstance(output, list):
        return "\n".join(map(_text, output))
    return str(output)


def judge(question: Question, said: str, found: Sequence[str], *, by: str) -> Grade:
    """Grade a final answer, and what was found on the way to it."""
    answer = extract(said)
    recall = support_recall(found, question.supports)
    measures = {
        "support_recall": recall,
        "f1": best_f1(answer, question.answers[:1]),
        "f1_aliases": best_f1(answer, question.answers),
        "exact": float(exact_match(answer, question.answers[0])),
        "tagged": float(bool(answer)),
        "searches": float(len(found)),
    }
    return Grade(recall if by == "recall" else answer_reward(said, question.answers[:1]), measures)


def parse() -> argparse.ArgumentParser:
    """Return the command line. Its defaults are the full task."""
    parser = arguments(__doc__)
    parser.add_argument("--hops", type=int, help="only questions of so many hops; the agent may search as often")
    parser.add_argument(
        "--decomposed", action="store_true", help="only questions with the searches that answer them, to be taught by"
    )
    parser.add_argument("--top-k", type=int, default=3, help="paragraphs found by a query")
    parser.add_argument("--paragraph-chars", type=int, default=2000, help="characters of each that are shown")
    parser.add_argument("--max-tokens", type=int, default=2048, help="tokens of one answer")
    parser.add_argument(
        "--reward", choices=["answer", "recall"], default="answer", help="0.9 F1 + 0.1, or recall of supports"
    )
    return parser


if __name__ == "__main__":
    telemetry = open_telemetry("researcher")
    OpenAIAgentsInstrumentor().instrument(tracer_provider=telemetry.provider, exclusive_processor=True)
    HTTPX2ClientInstrumentor().instrument(tracer_provider=telemetry.provider)
    sys.exit(main(Musique(), parse(), telemetry))
