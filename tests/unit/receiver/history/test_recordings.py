"""What a product recorded says the same by OTLP and out of an export: the same calls, field by field.

Rows are made of the recorded spans, as the product's documentation says its exports have them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tests.history import transitions, write_lines
from tests.recordings import FRAMEWORKS, load, run

LANGFUSE = "langfuse.observation."


def langfuse_rows(spans: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Return the observations that Langfuse keeps of its spans."""
    for span in spans.iter_rows(named=True):
        said = orjson.loads(span["attributes"])
        metadata = f"{LANGFUSE}metadata."
        began = said.get(f"{LANGFUSE}completion_start_time")
        yield {
            "id": span["span_id"],
            "trace_id": span["trace_id"],
            "type": said[f"{LANGFUSE}type"].upper(),
            "parent_observation_id": span["parent_span_id"] or "",
            "start_time": span["start_ns"],
            "end_time": span["end_ns"],
            "name": span["name"],
            "metadata": {key.removeprefix(metadata): said[key] for key in said if key.startswith(metadata)},
            "level": said.get(f"{LANGFUSE}level", "DEFAULT"),
            "status_message": said.get(f"{LANGFUSE}status_message", ""),
            "input": said.get(f"{LANGFUSE}input", ""),
            "output": said.get(f"{LANGFUSE}output", ""),
            "provided_model_name": said.get(f"{LANGFUSE}model.name", ""),
            "model_parameters": said.get(f"{LANGFUSE}model.parameters", ""),
            "usage_details": orjson.loads(said.get(f"{LANGFUSE}usage_details", "{}")),
            "completion_start_time": began and began.strip('"'),
            "session_id": said.get("session.id"),
        }


def langsmith_rows(spans: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Return the runs that LangSmith keeps of its spans."""
    for span in spans.iter_rows(named=True):
        said = orjson.loads(span["attributes"])
        prefix = "langsmith.metadata."
        metadata = {key.removeprefix(prefix): value for key, value in said.items() if key.startswith(prefix)}
        yield {
            "id": span["span_id"],
            "trace_id": span["trace_id"],
            "parent_run_id": span["parent_span_id"],
            "name": span["name"],
            "run_type": said["langsmith.span.kind"],
            "start_time": span["start_ns"],
            "end_time": span["end_ns"],
            "inputs": said.get("gen_ai.prompt"),
            "outputs": said.get("gen_ai.completion"),
            "session_name": said.get("langsmith.trace.session_name"),
            "prompt_tokens": said.get("gen_ai.usage.input_tokens"),
            "completion_tokens": said.get("gen_ai.usage.output_tokens"),
            "extra": {
                "metadata": {**metadata, "tool_call_id": said.get("gen_ai.tool.call.id")},
                "invocation_params": {"tools": said.get("gen_ai.tool.definitions")},
            },
        }


@pytest.mark.parametrize(
    ("producer", "scenario"),
    [
        ("langfuse-5", "tool"),
        ("langfuse-5", "lc_stream_tool"),
        ("langfuse-5", "fail"),
        ("langsmith", "lc_parallel"),
        ("langsmith", "oa_tool"),
    ],
)
def test_an_export_says_what_the_spans_said(tmp_path: Path, producer: str, scenario: str) -> None:
    """All of each call but the name of the scope, which an export does not have."""
    spans, logs, _ = load(producer, scenario, FRAMEWORKS)
    vendor, rows = ("langfuse", langfuse_rows) if producer.startswith("langfuse") else ("langsmith", langsmith_rows)

    outcome, _, imported = transitions(vendor, write_lines(tmp_path / "export.jsonl", list(rows(spans))))

    expected = run(spans, logs)
    assert not outcome.refused
    for table in ("llm_calls", "tool_calls"):
        of_spans, of_rows = (
            one.tables[table].drop("scope_name", strict=False).sort("start_ns", "span_id").to_dicts()
            for one in (expected, imported)
        )
        assert of_rows == of_spans
        assert of_spans or table == "tool_calls"
