r"""Lets the calculating agent attempt word problems and says in its traces how each attempt went.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \
        python -m examples.calcx.collect --datasets DIR --split dev --episodes 32

Tracing is AutoGen's own and Traceloop's of the OpenAI client; OpenTelemetry's own of the HTTP client carries the trace
to the model's endpoint. Prints a summary as JSON.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from autogen_agentchat.messages import ToolCallExecutionEvent
from autogen_ext.tools.mcp import StdioServerParams, create_mcp_server_session, mcp_server_tools
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.instrumentation.openai import OpenAIInstrumentor

from examples.attempts import Grade, open_telemetry
from examples.calcx.agent import build, connect
from examples.calcx.answers import close_match, exact_match, extract
from examples.calcx.questions import Problem, load
from examples.orders import Playing, arguments, main

ROOT = Path(__file__).parents[2]


class Calcx:
    """Word problems with a calculator."""

    def tasks(self, options: argparse.Namespace) -> Sequence[Problem]:
        """Return the problems of a split."""
        return load(options.datasets, options.split, dataset=options.dataset, max_steps=options.steps)

    @asynccontextmanager
    async def playing(self, options: argparse.Namespace) -> AsyncIterator[Playing]:
        """Start the calculator, let the agent answer, and grade what it says at the end."""
        server = StdioServerParams(
            command=sys.executable,
            args=["-m", "examples.calcx.calculator"],
            cwd=str(ROOT),
            env={**os.environ},
            read_timeout_seconds=60,  # its start counts, and five seconds are too few beside other work
        )
        client = connect(model=options.model, temperature=options.temperature, max_tokens=options.max_tokens)
        # One session for all attempts; a workbench would end for all of them with the first that is cancelled.
        async with create_mcp_server_session(server) as session:
            await session.initialize()
            calculator = await mcp_server_tools(server, session=session)

            async def play(problem: Problem) -> Grade:
                result = await build(client, calculator, max_steps=options.steps or 8).run(task=problem.text)
                said = str(getattr(result.messages[-1], "content", ""))
                called = [one for one in result.messages if isinstance(one, ToolCallExecutionEvent)]
                failed = any(part.is_error for event in called for part in event.content)
                return judge(problem, said, called=bool(called) and not failed)

            async def is_sound() -> bool:
                await session.send_ping()
                return True

            yield Playing(play, is_sound)
        await client.close()


def judge(problem: Problem, said: str, *, called: bool) -> Grade:
    """Grade a final message."""
    answer = extract(said)
    measures = {"exact": float(exact_match(answer, problem.answer)), "called": float(called)}
    return Grade(float(close_match(answer, problem.answer)), measures)


def parse() -> argparse.ArgumentParser:
    """Return the command line. Its defaults are the full task."""
    parser = arguments(__doc__)
    parser.add_argument("--dataset", choices=["gsm8k", "svamp"], help="only problems of one source")
    parser.add_argument("--steps", type=int, help="only problems of so many steps; the agent may calculate as often")
    parser.add_argument("--max-tokens", type=int, default=1024, help="tokens of one answer")
    return parser


if __name__ == "__main__":
    telemetry = open_telemetry("calc")
    trace.set_tracer_provider(telemetry.provider)  # where AutoGen's own spans go
    OpenAIInstrumentor().instrument(tracer_provider=telemetry.provider)
    HTTPX2ClientInstrumentor().instrument(tracer_provider=telemetry.provider)
    sys.exit(main(Calcx(), parse(), telemetry))
