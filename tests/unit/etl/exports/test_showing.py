"""What `etl stats` and `etl inspect` print fits a terminal, and is whole in a pipe."""

import pytest
from rich.console import Console

from etl.exports.inspect import draw
from etl.exports.stats import FIELDS, coverage, show
from tests.recordings import load, run
from tests.spans import logs_frame, span, spans_frame


def found() -> dict[str, list[dict[str, object]]]:
    """Return statistics of two producers, one with a long name."""
    calls = [
        run(*load(producer, "tool_call")[:2]).tables["llm_calls"] for producer in ("mlflow", "openinference-autogen")
    ]
    rows = [entry for table in calls for entry in coverage(table)]
    return {"coverage": rows, "signals": [], "rewards": [], "evidence": [], "splits": [], "rejected": []}


def test_the_matrix_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """With a column for every field, under its short name, and a legend."""
    show(found(), width=80)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["producer", "calls", *FIELDS.values()]
    assert [len(line.split()[-len(FIELDS) - 1 :]) for line in lines[2:4]] == [15, 15]
    assert all(name in " ".join(lines) for name, short in FIELDS.items() if name != short)


def test_nothing_is_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Names are whole, and a row is a line."""
    show(found())

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["producer", "calls", *FIELDS]
    assert "…" not in "".join(lines)
    assert all(not line or len(line.split()) > 5 for line in lines)


def test_an_empty_dataset_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than nothing at all."""
    show({"coverage": [], "signals": [], "rewards": [], "evidence": [], "splits": [], "rejected": []})

    assert "Nothing is published yet" in capsys.readouterr().out


def test_a_trace_is_drawn_with_what_each_span_was_read_as() -> None:
    """Steps, tools with their causes, rewards as chips; names that look like markup stay what they are."""
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]',
        "gen_ai.output.messages": (
            '[{"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"stock","arguments":{}}]}]'
        ),
    }
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "stock", "gen_ai.tool.call.id": "c"}
    score = {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": 1.0}
    event = {"name": "gen_ai.evaluation.result", "time_ns": 1, "attributes": score}
    spans = spans_frame(
        [
            span("root [red]", start=0, end=9, events=[event]),
            span("chat", parent="root [red]", start=1, end=2, attributes=call, scope="framework"),
            span("inner", parent="chat", start=1.2, end=1.8, attributes=call, scope="client"),
            span("run", parent="root [red]", start=3, end=4, attributes=tool, status="error"),
        ]
    )
    console = Console(width=200)

    with console.capture() as capture:
        console.print(draw(spans, logs_frame()))
    root, chat, inner, run_ = (line for line in capture.get().splitlines() if "ms" in line)

    assert "root [red]" in root
    assert "outcome +1" in root
    assert "step 0 evidence D outcome +1 tool_status -0.1 return +0.9" in chat
    assert "same call as" in inner
    assert "error tool stock caused by" in run_
    assert "(tool_call_id)" in run_
