r"""Lets the text-to-SQL agents attempt questions of Spider and says in their traces how each attempt went.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \
        python -m examples.spider.collect --datasets DIR --split dev --episodes 32

Tracing is OpenInference's of LangChain, and OpenTelemetry's own of the HTTP client, which carries the trace to the
model's endpoint. Prints a summary as JSON.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from langchain_openai import ChatOpenAI
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

from examples.attempts import Grade, open_telemetry
from examples.orders import Playing, arguments, main
from examples.spider.agent import Settings, build
from examples.spider.database import QueryFailed, run_query
from examples.spider.execution_match import execution_match
from examples.spider.questions import Question, Restriction, load


class Spider:
    """Text-to-SQL."""

    def tasks(self, options: argparse.Namespace) -> Sequence[Question]:
        """Return the questions of a split."""
        restriction = Restriction(one_table=options.one_table, schema_chars=options.schema_chars)
        return load(options.datasets, options.split, restriction)

    @asynccontextmanager
    async def playing(self, options: argparse.Namespace) -> AsyncIterator[Playing]:
        """Let the graph answer, and grade its last query by execution match."""
        model = ChatOpenAI(
            model=options.model, temperature=options.temperature, max_completion_tokens=options.max_tokens, timeout=120
        )
        graph = build(model, Settings(max_turns=options.max_turns, result_chars=options.result_chars))

        async def play(question: Question) -> Grade:
            asked = {"question": question.text, "schema": question.schema, "database": str(question.database)}
            state = await graph.ainvoke(asked, {"recursion_limit": 10 * options.max_turns + 10})
            return await asyncio.to_thread(judge, question, state["query"], state["turns"])

        yield Playing(play)


def judge(question: Question, query: str, turns: int) -> Grade:
    """Grade a query."""
    try:
        run_query(question.database, query)
    except QueryFailed:
        return Grade(0.0, {"valid": 0.0, "turns": turns})
    matches = execution_match(question.database, query, question.gold)
    return Grade(float(matches), {"valid": 1.0, "turns": turns})


def parse() -> argparse.ArgumentParser:
    """Return the command line. Its defaults are the full task, as published."""
    parser = arguments(__doc__)
    parser.add_argument("--one-table", action="store_true", help="only questions of one table, whose columns are shown")
    parser.add_argument("--schema-chars", type=int, default=2048, help="characters of schema shown")
    parser.add_argument("--result-chars", type=int, default=2048, help="characters of a result shown")
    parser.add_argument("--max-turns", type=int, default=3, help="queries written at most; with 1 nobody checks")
    parser.add_argument("--max-tokens", type=int, default=2048, help="tokens of one answer")
    return parser


if __name__ == "__main__":
    telemetry = open_telemetry("text-to-sql")
    LangChainInstrumentor().instrument(tracer_provider=telemetry.provider)
    HTTPX2ClientInstrumentor().instrument(tracer_provider=telemetry.provider)
    sys.exit(main(Spider(), parse(), telemetry))
