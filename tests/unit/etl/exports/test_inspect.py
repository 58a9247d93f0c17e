"""What `etl inspect` draws."""

from rich.console import Console

from etl.exports.inspect import draw
from tests.spans import logs_frame, span, spans_frame


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
