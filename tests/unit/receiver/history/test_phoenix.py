"""Phoenix's spans and annotations: of its client's data frames, and of its API."""

import csv
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet

from tests.history import imported, transitions, write_lines

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALL = {
    "tool_call.id": "call_1",
    "tool_call.function.name": "weather",
    "tool_call.function.arguments": '{"city": "Oslo"}',
}
ASKED = [
    {"message.role": "system", "message.content": "Be brief."},
    {"message.role": "user", "message.content": "Oslo?"},
]
TURN = {"message.role": "assistant", "message.tool_calls": [CALL]}
RESULT = {"message.role": "tool", "message.content": "4", "message.tool_call_id": "call_1"}
ANSWER = {"message.role": "assistant", "message.content": "4 degrees."}


def span(number: int, kind: str, **attributes: Any) -> dict[str, Any]:
    """Return a row of `get_spans_dataframe`, written with `orient="records"`."""
    return {
        "name": "TravelAgent" if number == 1 else "step",
        "span_kind": kind,
        "parent_id": None if number == 1 else f"{1:016x}",
        "start_time": f"2024-05-29T13:46:{number:02}.000Z",
        "end_time": f"2024-05-29T13:46:{number + 1:02}.000Z",
        "status_code": "OK",
        "status_message": "",
        "events": [],
        "context.span_id": f"{number:016x}",
        "context.trace_id": TRACE,
        "attributes.openinference.span.kind": kind,
        "attributes.session.id": "s1",
        **{f"attributes.{key.replace('__', '.')}": value for key, value in attributes.items()},
    }


def model_span(number: int, asked: Any, answer: Any) -> dict[str, Any]:
    return span(
        number,
        "LLM",
        llm__model_name="gpt-4o-mini",
        llm__invocation_parameters='{"temperature": 0.7}',
        llm__input_messages=asked,
        llm__output_messages=[answer],
        llm__token_count__prompt=20,
        llm__token_count__completion=5,
    )


SPANS = [
    span(1, "AGENT"),
    model_span(2, ASKED, TURN),
    span(3, "TOOL", tool__name="weather", input__value='{"city": "Oslo"}', output__value="4"),
    model_span(4, [*ASKED, TURN, RESULT], ANSWER),
]
ANNOTATION = {
    "id": "U3Bhbg==",
    "span_id": f"{1:016x}",
    "name": "outcome",
    "annotator_kind": "HUMAN",
    "result": {"label": "correct", "score": 1.0, "explanation": "right"},
    "metadata": {},
    "created_at": "2024-05-29T14:00:00Z",
    "updated_at": "2024-05-29T14:00:00Z",
}


def check(made: list[dict[str, Any]]) -> None:
    assert [(one["agent"], one["span_id"]) for one in made] == [
        ("TravelAgent", f"{2:016x}"),
        ("TravelAgent", f"{4:016x}"),
    ]
    assert [one["action"]["text"] for one in made] == [None, "4 degrees."]
    assert made[0]["action"]["tool_calls"][0]["arguments"] == {"city": "Oslo"}
    assert [message["role"] for message in made[1]["observation"]] == ["system", "user", "assistant", "tool"]


def test_spans_and_annotations_become_transitions(tmp_path: Path) -> None:
    """An annotation names a span alone; its trace is found among the spans."""
    files = write_lines(tmp_path / "s.jsonl", SPANS), write_lines(tmp_path / "a.jsonl", [ANNOTATION])

    outcome, made, _ = transitions("phoenix", *files)

    assert (outcome.rows, outcome.imported, outcome.spans, outcome.scores) == (5, 5, 4, 1)
    check(made)
    assert [one["outcome"] for one in made] == [1.0, 1.0]


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    """Messages are lists of structures there, or JSON text; what a message lacks is null."""
    names = sorted({key for row in SPANS for key in row})
    columns: dict[str, Any] = {name: [row.get(name) for row in SPANS] for name in names}
    columns["start_time"] = pa.array(columns["start_time"]).cast(pa.timestamp("ns", "UTC"))
    parquet.write_table(pa.table(columns), tmp_path / "s.parquet")
    with (tmp_path / "s.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in SPANS:
            values = [row.get(name) for name in names]
            writer.writerow(
                [v if isinstance(v, str) else "" if v is None else orjson.dumps(v).decode() for v in values]
            )

    for name in ("s.parquet", "s.csv"):
        check(transitions("phoenix", tmp_path / name)[1])


def test_the_api_s_spans_and_annotations_are_read_as_well(tmp_path: Path) -> None:
    """Ids in a context, attributes in one object, nested or with numbers in their names."""
    attributes = {
        "openinference": {"span": {"kind": "LLM"}},
        "llm.model_name": "gpt-4o-mini",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Oslo?",
        "llm": {"output_messages": [{"message": {"role": "assistant", "content": "4 degrees."}}]},
    }
    item = {
        "id": "1",
        "name": "ChatCompletion",
        "context": {"trace_id": TRACE, "span_id": f"{2:016x}"},
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": "2024-05-29T13:46:01Z",
        "end_time": "2024-05-29T13:46:02Z",
        "status_code": "OK",
        "attributes": attributes,
        "events": [],
    }
    (tmp_path / "page.json").write_bytes(
        orjson.dumps({"data": [item], "next_cursor": None}, option=orjson.OPT_INDENT_2)
    )
    frame = {"span_id": f"{2:016x}", "annotation_name": "outcome", "annotator_kind": "LLM", "result.score": 0.5}
    notes = write_lines(tmp_path / "notes.jsonl", [{**frame, "created_at": 1716990379963}])

    _, (made,), _ = transitions("phoenix", tmp_path / "page.json", notes)

    assert ([m["text"] for m in made["observation"]], made["action"]["text"]) == (["Oslo?"], "4 degrees.")
    assert made["outcome"] == 0.5


def test_annotations_that_judge_nothing_here_are_refused(tmp_path: Path) -> None:
    """Of a span that is not there, or without score and label; a failed span keeps its exception."""
    failed = {
        **SPANS[1],
        "status_code": "ERROR",
        "events": [{"name": "exception", "attributes": {"exception.type": "E"}}],
    }
    rows = [failed, {**ANNOTATION, "result": {"explanation": "hm"}}, ANNOTATION]

    outcome, spans, _ = imported("phoenix", write_lines(tmp_path / "rows.jsonl", rows))

    assert (outcome.imported, outcome.refused.total()) == (1, 2)
    assert spans["status_code"][0] == "error"
    assert "exception.type" in spans["events"][0]
