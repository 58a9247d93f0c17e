"""Users say where their producers' facts stand, and are told where facts came from."""

import json
from pathlib import Path
from typing import Any

import pytest

from etl.cli import own_dialects
from etl.dialects.structure.own import check
from etl.exports.explain import explain, read_frame, suggest
from etl.settings import DialectEntry, EtlConfig
from etl.transform import transform
from foundation.errors import SettingsError
from tests.spans import logs_frame, span, spans_frame

ENTRY = DialectEntry(
    name="acme",
    scope="acme.",
    kind="acme.k",
    calls=["inference"],
    tools=["action"],
    places={
        "input": ["acme.req#payload.turns"],
        "output": ["event:acme.done/body", "acme.reply"],
        "model_requested": ["acme.m"],
        "response_id": ["acme.reply#id"],
        "tool_name": ["acme.what"],
        "tool_arguments": ["acme.with"],
        "tool_result": ["acme.got"],
    },
)
CALL: dict[str, Any] = {
    "acme.k": "inference",
    "acme.req": json.dumps({"payload": {"turns": [{"role": "user", "content": "What is 12*7?"}]}}),
    "acme.reply": json.dumps({"id": "r-1", "role": "assistant", "content": "84"}),
    "acme.m": "m-1",
}
TOOL = {"acme.k": "action", "acme.what": "calculator", "acme.with": '{"expression": "12*7"}', "acme.got": "84"}


def test_an_entry_reads_what_stands_at_its_places() -> None:
    """A path in JSON, an attribute, a kind of span: calls and tools come out as of any dialect, under its name."""
    spans = [
        span("ask", scope="acme.sdk", attributes=CALL),
        span("act", scope="acme.sdk", attributes=TOOL, start=2),
    ]

    tables = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0, dialects=[ENTRY])).tables

    (call,) = tables["llm_calls"].to_dicts()
    (tool,) = tables["tool_calls"].to_dicts()
    assert (call["dialect"], call["model_requested"], call["response_id"]) == ("acme", "m-1", "r-1")
    assert [m["text"] for m in json.loads(call["input"]) + json.loads(call["output"])] == ["What is 12*7?", "84"]
    assert (tool["name"], json.loads(tool["arguments"]), tool["result"]) == ("calculator", {"expression": "12*7"}, "84")


def test_a_field_that_is_none_is_refused() -> None:
    """A misspelt field would silently be left empty."""
    with pytest.raises(SettingsError, match="no field inputt"):
        check(DialectEntry(name="a", places={"inputt": ["x"]}))


def test_entries_come_from_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest one counts; what is wrong in it is said with its place."""
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    (tmp_path / "spanloop.toml").write_text('[[etl.dialects]]\nname = "mine"\nscope = "x"\n')

    assert [entry.name for entry in own_dialects()] == ["mine"]

    (below / "spanloop.toml").write_text("[[etl.dialects]]\nscope = 1\n")
    with pytest.raises(SettingsError, match=r"0?\.?name"):
        own_dialects()


def test_where_a_field_came_from_is_told() -> None:
    """Each field with the attribute it stood in, and never the words of a message."""
    attributes = {
        "gw.request": json.dumps({"messages": [{"role": "user", "content": "secret"}]}),
        "gw.response": json.dumps({"choices": [{"message": {"content": "hidden"}, "finish_reason": "stop"}]}),
        "gw.request.model": "m-1",
    }

    told = "\n".join(explain(spans_frame([span("c", attributes=attributes)]), logs_frame(), []))

    assert "input: 1 message, from gw.request" in told
    assert "model_requested: m-1, from gw.request.model" in told
    assert not {"secret", "hidden"} & set(told.split())


def test_an_unread_span_gets_an_entry_to_start_from() -> None:
    """What can be told of its attributes is filled in, by name."""
    attributes = {"zz.span.kind": "thing", "zz.prompt": "What is 12*7? " * 9, "zz.model": "m-1"}
    readings = read_frame(spans_frame([span("x", scope="zz.sdk", attributes=attributes)]), logs_frame(), [])

    entry = suggest("zz.sdk", readings.leftovers)

    assert 'scope = "zz.sdk"' in entry
    assert 'input = ["zz.prompt"]' in entry
    assert 'model_requested = ["zz.model"]' in entry
