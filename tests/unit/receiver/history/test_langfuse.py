"""Langfuse's exports: observations and scores of the blob storage export, and what its API answers."""

import csv
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet

from tests.history import imported, transitions, write_lines

TRACE = "0af7651916cd43dd8448eb211c80319c"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
AGAIN = [
    *ASKED,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "4"},
]


def observation(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    """Return a row of `observations_v2/`, as the field reference has it."""
    return {
        "id": f"{number:016x}",
        "trace_id": TRACE,
        "project_id": "p",
        "environment": "production",
        "type": kind,
        "parent_observation_id": "" if number == 1 else f"{1:016x}",
        "start_time": f"2024-05-29 13:46:{number:02}.000000",
        "end_time": f"2024-05-29 13:46:{number + 1:02}.500000",
        "name": "step",
        "metadata": {"topic": "weather"},
        "level": "DEFAULT",
        "status_message": "",
        "input": "",
        "output": "",
        "provided_model_name": "",
        "model_parameters": "",
        "usage_details": {},
        "completion_start_time": None,
        "user_id": "u1",
        "session_id": "s1",
        "trace_name": "travel",
        "tags": ["a"],
        **fields,
    }


def generation(number: int, asked: Any, answer: Any, **fields: Any) -> dict[str, Any]:
    return observation(
        number,
        "GENERATION",
        input=orjson.dumps({"messages": asked, "tools": TOOLS}).decode(),
        output=orjson.dumps(answer).decode(),
        provided_model_name="gpt-4o-mini",
        model_parameters='{"temperature":0.7}',
        usage_details={"input": 20, "output": 5, "total": 25},
        **fields,
    )


OBSERVATIONS = [
    observation(1, "AGENT", name="TravelAgent"),
    generation(2, ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}),
    observation(3, "TOOL", name="weather", input='{"city": "Oslo"}', output="4"),
    generation(4, AGAIN, {"role": "assistant", "content": "4 degrees."}),
]
SCORES = [
    {
        "id": "sc1",
        "timestamp": "2024-05-29 14:00:00.000000",
        "project_id": "p",
        "trace_id": TRACE,
        "observation_id": None,
        "session_id": None,
        "name": "outcome",
        "value": 1,
        "source": "API",
        "comment": "right",
        "data_type": "NUMERIC",
        "string_value": None,
    }
]


def test_observations_and_scores_become_transitions(tmp_path: Path) -> None:
    """Each generation one, with the agent's name, the model's settings and the trace's score as outcome."""
    files = write_lines(tmp_path / "o.jsonl", OBSERVATIONS), write_lines(tmp_path / "s.jsonl", SCORES)

    outcome, made, dataset = transitions("langfuse", *files)

    assert (outcome.rows, outcome.imported, outcome.spans, outcome.scores) == (5, 5, 4, 1)
    assert not outcome.refused
    assert [(one["agent"], one["trace_id"], one["span_id"]) for one in made] == [
        ("TravelAgent", TRACE, f"{2:016x}"),
        ("TravelAgent", TRACE, f"{4:016x}"),
    ]
    assert [one["action"]["text"] for one in made] == [None, "4 degrees."]
    assert made[0]["action"]["tool_calls"][0]["arguments"] == {"city": "Oslo"}
    assert [message["role"] for message in made[1]["observation"]] == ["system", "user", "assistant", "tool"]
    assert [one["outcome"] for one in made] == [1.0, 1.0]
    assert dataset.tables["tool_calls"]["result"].to_list() == ["4"]
    calls = dataset.tables["llm_calls"].sort("start_ns")
    assert calls["model_requested"].to_list() == ["gpt-4o-mini"] * 2
    assert orjson.loads(calls["params"][0])["temperature"] == 0.7
    assert {one["response_token_ids"] is None for one in made} == {True}


def test_every_file_format_says_the_same(tmp_path: Path) -> None:
    """JSON lines, an array, CSV and Parquet, as the product writes each."""
    lines = write_lines(tmp_path / "o.jsonl", OBSERVATIONS)
    (tmp_path / "o.json").write_bytes(orjson.dumps(OBSERVATIONS, option=orjson.OPT_INDENT_2))
    flat = [
        {k: v if isinstance(v, str) else "" if v is None else orjson.dumps(v).decode() for k, v in row.items()}
        for row in OBSERVATIONS
    ]
    with (tmp_path / "o.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    columns = {key: [row[key] for row in OBSERVATIONS] for key in OBSERVATIONS[0]}
    for name, kind in (("metadata", pa.string()), ("usage_details", pa.int64())):
        columns[name] = pa.array([list(value.items()) for value in columns[name]], pa.map_(pa.string(), kind))  # type: ignore[assignment]
    parquet.write_table(pa.table(columns), tmp_path / "o.parquet")

    _, expected, _ = transitions("langfuse", lines)

    for name in ("o.json", "o.csv", "o.parquet"):
        assert transitions("langfuse", tmp_path / name)[1] == expected, name


def test_the_api_s_names_are_read_as_well(tmp_path: Path) -> None:
    """Pages with names in camel case, a trace with its observations and scores below it."""

    def camel(row: dict[str, Any]) -> dict[str, Any]:
        words = [(key.split("_"), value) for key, value in row.items()]
        return {first + "".join(map(str.title, rest)): value for (first, *rest), value in words}

    observations = [{**camel(row), "startTime": row["start_time"].replace(" ", "T") + "Z"} for row in OBSERVATIONS]
    trace = {"id": TRACE, "timestamp": "2024-05-29T13:46:00Z", "name": "travel", "sessionId": "s1", "htmlPath": "/x"}
    (tmp_path / "page.json").write_bytes(orjson.dumps({"data": observations, "meta": {"page": 1}}))
    (tmp_path / "trace.json").write_bytes(
        orjson.dumps({**trace, "observations": observations, "scores": [camel(row) for row in SCORES]})
    )

    _, paged, _ = transitions("langfuse", tmp_path / "page.json")
    outcome, whole, _ = transitions("langfuse", tmp_path / "trace.json")

    assert [one["action"]["text"] for one in paged] == [None, "4 degrees."]
    assert [one["outcome"] for one in whole] == [1.0, 1.0]
    assert (outcome.rows, outcome.spans, outcome.scores) == (1, 5, 1)


def test_rows_that_say_too_little_are_refused_with_the_reason(tmp_path: Path) -> None:
    """Each is counted: running when it was exported, nameless in time, a score of nothing."""
    rows = [
        *OBSERVATIONS,
        {**OBSERVATIONS[1], "end_time": None, "output": ""},
        {**OBSERVATIONS[1], "start_time": "yesterday"},
        {**SCORES[0], "trace_id": None},
        {**SCORES[0], "value": None},
        {**SCORES[0], "data_type": "TEXT", "value": 0, "string_value": "liked it"},
    ]

    outcome, _, logs = imported("langfuse", write_lines(tmp_path / "o.jsonl", rows))

    assert outcome.rows == outcome.imported + outcome.refused.total() == 9
    assert set(outcome.refused) == {
        "no end time: it was still running when it was exported",
        "a time that is none",
        "a score of neither a trace nor a session",
        "a score with neither value nor label",
    }
    assert "score.value" not in logs["attributes"][0]


def test_ids_of_other_kinds_are_hashed_and_kept(tmp_path: Path) -> None:
    """A UUID is its own 16 bytes; a span's parent is found by the same hash."""
    uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    rows = [
        {**OBSERVATIONS[0], "id": uuid, "trace_id": uuid},
        {**OBSERVATIONS[1], "trace_id": uuid, "parent_observation_id": uuid},
    ]

    _, spans, _ = imported("langfuse", write_lines(tmp_path / "o.jsonl", rows))

    assert set(spans["trace_id"]) == {uuid.replace("-", "")}
    assert spans["parent_span_id"][1] == spans["span_id"][0]
    assert orjson.loads(spans["attributes"][0])["spanloop.import.id"] == uuid
