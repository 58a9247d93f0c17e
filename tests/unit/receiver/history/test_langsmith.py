"""LangSmith's runs and feedback: of the bulk export, where objects are JSON text, and of the API."""

import csv
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet

from tests.history import imported, transitions, write_lines

RUNS = [f"{n}f9619ff-8b86-4011-b42d-00c04fc964ff" for n in range(4)]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
AGAIN = [
    *ASKED,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "4"},
]


def run_(number: int, kind: str, name: str, inputs: Any, outputs: Any, **fields: Any) -> dict[str, Any]:
    """Return a run in the documented format; all but the first are below the first."""
    order = ".".join(f"20240529T1346{n:02}000000Z{RUNS[n]}" for n in sorted({0, number}))
    return {
        "id": RUNS[number],
        "trace_id": RUNS[0],
        "session_id": "11111111-2222-3333-4444-555555555555",
        "name": name,
        "run_type": kind,
        "start_time": f"2024-05-29T13:46:{number:02}.000000",
        "end_time": f"2024-05-29T13:46:{9 - number if number == 0 else number + 1:02}.000000",
        "status": "success",
        "error": None,
        "dotted_order": order,
        "parent_run_id": RUNS[0] if number else None,
        "inputs": inputs,
        "outputs": outputs,
        "extra": {"metadata": {"thread_id": "t1"}},
        "tags": [],
        **fields,
    }


def model_run(number: int, asked: Any, answer: dict[str, Any]) -> dict[str, Any]:
    return run_(
        number,
        "llm",
        "ChatOpenAI",
        {"messages": asked, "model": "gpt-4o-mini", "temperature": 0.7, "tools": TOOLS},
        {
            "id": f"chatcmpl-{number}",
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
        },
        extra={"metadata": {"thread_id": "t1", "ls_provider": "openai", "ls_model_name": "gpt-4o-mini"}},
        prompt_tokens=20,
        completion_tokens=5,
    )


ROWS = [
    run_(0, "chain", "travel", {"question": "Oslo?"}, {"answer": "4 degrees."}),
    model_run(1, ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}),
    run_(2, "tool", "weather", {"city": "Oslo"}, {"output": "4"}),
    model_run(3, AGAIN, {"role": "assistant", "content": "4 degrees."}),
]
FEEDBACK = {
    "id": "99999999-8b86-4011-b42d-00c04fc964ff",
    "created_at": "2024-05-29T14:00:00.000000",
    "modified_at": "2024-05-29T14:00:00.000000",
    "session_id": "11111111-2222-3333-4444-555555555555",
    "run_id": RUNS[0],
    "key": "outcome",
    "score": 1.0,
    "value": None,
    "comment": "right",
    "feedback_source": {"type": "api"},
}


def test_runs_and_feedback_become_transitions(tmp_path: Path) -> None:
    """Feedback names a run alone; its trace is found among the runs."""
    files = write_lines(tmp_path / "feedback.jsonl", [FEEDBACK]), write_lines(tmp_path / "runs.jsonl", ROWS)

    outcome, made, dataset = transitions("langsmith", *files)

    assert (outcome.rows, outcome.imported, outcome.spans, outcome.scores) == (5, 5, 4, 1)
    assert [one["trace_id"] for one in made] == [RUNS[0].replace("-", "")] * 2
    assert [one["action"]["text"] for one in made] == [None, "4 degrees."]
    assert made[0]["action"]["tool_calls"][0]["arguments"] == {"city": "Oslo"}
    assert [message["role"] for message in made[1]["observation"]] == ["system", "user", "assistant", "tool"]
    assert [one["outcome"] for one in made] == [1.0, 1.0]
    assert dataset.tables["tool_calls"]["result"].to_list() == ["4"]
    calls = dataset.tables["llm_calls"].sort("start_ns")
    assert calls["response_id"].to_list() == ["chatcmpl-1", "chatcmpl-3"]
    assert {one["response_token_ids"] is None for one in made} == {True}


def test_the_bulk_export_says_the_same_in_parquet(tmp_path: Path) -> None:
    """Objects are JSON text there, and times are instants."""
    texts = ("inputs", "outputs", "extra", "tags")
    rows = [{k: orjson.dumps(v).decode() if k in texts else v for k, v in row.items()} for row in ROWS]
    columns: dict[str, Any] = {key: [row.get(key) for row in rows] for key in ROWS[1]}
    for name in ("start_time", "end_time"):
        columns[name] = pa.array(columns[name]).cast(pa.timestamp("us"))
    parquet.write_table(pa.table(columns), tmp_path / "runs.parquet")

    _, expected, _ = transitions("langsmith", write_lines(tmp_path / "runs.jsonl", ROWS))

    assert transitions("langsmith", tmp_path / "runs.parquet")[1] == expected


def test_a_data_frame_s_csv_says_the_same(tmp_path: Path) -> None:
    """Objects stand there as Python would write them."""
    root = {**ROWS[0], "feedback_stats": {"outcome": {"n": 1, "avg": 0.5, "comments": [None, True]}}}
    rows = [root, *ROWS[1:]]
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        table.writeheader()
        table.writerows(rows)

    outcome, made, _ = transitions("langsmith", tmp_path / "runs.csv")

    assert (outcome.imported, outcome.scores) == (4, 1)
    assert made == transitions("langsmith", write_lines(tmp_path / "runs.jsonl", rows))[1]


def test_what_feedback_comes_to_is_read_from_the_run_itself(tmp_path: Path) -> None:
    """Where feedback was not exported: the mean, and of how many."""
    root = {**ROWS[0], "feedback_stats": {"outcome": {"n": 2, "avg": 0.5}, "note": {"n": 1, "avg": None}}}

    outcome, made, _ = transitions("langsmith", write_lines(tmp_path / "runs.jsonl", [root, *ROWS[1:]]))

    assert (outcome.imported, outcome.scores) == (4, 1)
    assert [one["outcome"] for one in made] == [0.5, 0.5]


def test_runs_still_pending_and_feedback_of_nothing_are_refused(tmp_path: Path) -> None:
    """A failed run is none of them: it is a call that failed."""
    rows = [
        {**ROWS[1], "end_time": None, "status": "pending"},
        {**ROWS[3], "error": "RateLimitError: 429", "status": "error", "outputs": None},
        {**FEEDBACK, "score": None},
        {**FEEDBACK, "run_id": RUNS[2]},
    ]

    outcome, spans, _ = imported("langsmith", write_lines(tmp_path / "rows.jsonl", rows))

    assert (outcome.imported, outcome.refused.total()) == (1, 3)
    assert (spans["status_code"][0], spans["status_message"][0]) == ("error", "RateLimitError: 429")
