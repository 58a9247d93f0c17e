"""What is trained from spans is what would be trained from the agent's own records: the same batch, to the last bit."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from etl.schema import table_files
from examples.attempts import give_reward
from spanloop.processes import free_port, running_server, spanloop_command
from tests.fakes import tiny_model
from tests.logged import publish
from tests.served import serving
from train.plan import make_plan, read_limits
from train.settings import TrainConfig

pytestmark = [pytest.mark.integration, pytest.mark.long]

ATTEMPTS = 32


def ask(url: str, number: int, headers: dict[str, str]) -> dict[str, Any]:
    """Ask for an answer with what an in-process trainer would keep of it."""
    messages = [{"role": "user", "content": f"task {number % 10}"}]
    asked = {"model": "base:live", "messages": messages, "max_tokens": 3 + number % 5, "temperature": 1.0}
    body = json.dumps({**asked, "logprobs": True, "return_token_ids": True}).encode()
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", body, {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request) as response:
        return dict(json.loads(response.read()))


def record(url: str, otlp: str) -> dict[str, dict[str, Any]]:
    """Let an agent attempt tasks, traced as any; return its own records by trace."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{otlp}/v1/traces")))
    kept = {}
    for number in range(ATTEMPTS):
        attributes = {"spanloop.task.id": f"task {number % 10}", "spanloop.split": "train"}
        with provider.get_tracer("agent").start_as_current_span("attempt", attributes=attributes) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            answer = ask(url, number, headers)
            reward = float(sum(answer["choices"][0]["token_ids"]) % 2)
            give_reward(span, reward)
            kept[f"{span.get_span_context().trace_id:032x}"] = {
                "prompt_token_ids": answer["prompt_token_ids"],
                "response_token_ids": answer["choices"][0]["token_ids"],
                "behavior_logprobs": [each["logprob"] for each in answer["choices"][0]["logprobs"]["content"]],
                "outcome": reward,
            }
    provider.shutdown()
    return kept


def test_spans_and_records_make_the_same_batch(tmp_path: Path) -> None:
    """None is lost, ids and outcomes are equal, and so are sequences, log-probabilities and advantages."""
    model = tiny_model(tmp_path / "base", seed=0)
    data, grpc, http = tmp_path / "data", free_port(), free_port()
    receiver = spanloop_command(
        *("receiver", "run", "--data", str(data), "--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}")
    )
    otlp = f"http://127.0.0.1:{grpc}"
    ready = f"http://127.0.0.1:{http}/readyz"
    with (
        running_server("the receiver", receiver, ready_url=ready, log=tmp_path / "receiver.log", timeout_s=60),
        serving(data, "--model", str(model), "--engine", "embedded", collector=SimpleNamespace(endpoint=otlp)) as at,
    ):
        kept = record(at.url, f"http://127.0.0.1:{http}")
    etl = [sys.executable, "-m", "spanloop", "etl", "run", "--data", str(data), "--complete-after", "0"]
    subprocess.run(etl, check=True, capture_output=True)
    rows = pl.read_parquet(table_files(data, "transitions")).to_dicts()

    assert sorted(row["trace_id"] for row in rows) == sorted(kept)
    elsewhere = publish(tmp_path / "records", [{**row, **kept[row["trace_id"]]} for row in rows])
    vocabulary_size, max_length = read_limits(model)
    spans, records = (
        make_plan(TrainConfig(data=place, model=model), vocabulary_size=vocabulary_size, max_length=max_length)
        for place in (data, elsewhere)
    )
    assert len(spans.sequences) == len(records.sequences) == ATTEMPTS
    for one, other in zip(spans.sequences, records.sequences, strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.call, other.call)
        assert np.array_equal(one.behavior_logprobs, other.behavior_logprobs)
    assert np.array_equal(spans.advantages, records.advantages)
    assert np.ptp(spans.advantages) > 0
