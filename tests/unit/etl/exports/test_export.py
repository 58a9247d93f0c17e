"""Rows of published tables as lines."""

import json
from pathlib import Path

import polars as pl
import pytest
from structlog.testing import capture_logs

from etl.exports.export import decoded, export
from etl.published.publish import publish, write_part
from etl.published.window import Window
from etl.settings import EtlConfig
from etl.transform import transform
from foundation.errors import SettingsError
from tests.spans import identifier, llm, logs_frame, spans_frame

HIDDEN = {"type": "blob", "modality": "image", "content": "__REDACTED__"}
IMAGE = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "See?"}, HIDDEN]}])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return data with one call of words and one that was shown a picture nobody recorded."""
    path = tmp_path_factory.mktemp("exported")
    spans = [llm("b", start=2), llm("a", trace="u", attributes={"gen_ai.input.messages": IMAGE})]
    made = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))
    traces = {("default", identifier(name, 32)) for name in ("t", "u")}
    publish(path, Window(1, 5), traces, [write_part(path, Window(1, 5), made)], made.pending, 5)
    return path


@pytest.mark.parametrize("form", ["parquet", "verl"])
def test_parquet_is_not_written_to_stdout(data: Path, form: str) -> None:
    """Whoever pipes it gets nothing half."""
    with pytest.raises(SettingsError, match="not written to stdout"):
        export(data, "transitions", form, None)  # type: ignore[arg-type]


def test_a_trainers_format_is_of_transitions(data: Path, tmp_path: Path) -> None:
    """Nothing is written where another table is asked for."""
    with pytest.raises(SettingsError, match="trl is a format of transitions, not of episodes"):
        export(data, "episodes", "trl", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("form", ["trl", "verl"])
def test_what_was_shown_unrecorded_media_is_left_out_and_counted(data: Path, tmp_path: Path, form: str) -> None:
    """A trainer would see a question without its picture."""
    path = tmp_path / "x"

    with capture_logs() as logs:
        written = export(data, "transitions", form, path)  # type: ignore[arg-type]

    rows = pl.read_parquet(path).height if form == "verl" else len(path.read_text().splitlines())
    assert (written, rows) == (1, 1)
    assert [(line["transitions"], "not recorded" in line["event"]) for line in logs] == [(1, True)]


def test_lines_hold_json_and_plain_text_as_what_they_are(data: Path, tmp_path: Path) -> None:
    """Every row, in the table's order."""
    assert export(data, "llm_calls", "jsonl", tmp_path / "x") == 2
    lines = [json.loads(line) for line in (tmp_path / "x").read_text().splitlines()]

    assert sorted(line["output"][0]["text"] for line in lines) == ["hello", "hello"]
    assert {type(line["input"]) for line in lines} == {list}


def test_a_tools_words_are_text_even_where_they_look_like_json() -> None:
    """Its error and result are what it said."""
    row = {"error": '{"a": 1}', "result": '{"b": 2}', "arguments": '{"c": 3}'}

    assert decoded("tool_calls", row) == {"error": '{"a": 1}', "result": '{"b": 2}', "arguments": {"c": 3}}


def test_ids_and_logprobs_stand_in_the_answer_that_was_the_action() -> None:
    """Not in the first; without log-probabilities they are said to be missing, and short where they are floats."""
    row = {"output": '[{"text": "a"}, {"text": "b"}]', "response_token_ids": [7], "choice": 1}

    chosen = decoded("llm_calls", {**row, "behavior_logprobs": [-0.10000000149011612]})["output"]
    unknown = decoded("llm_calls", {**row, "choice": None, "behavior_logprobs": None})["output"]

    assert chosen == [{"text": "a"}, {"text": "b", "token_ids": [7], "logprobs": [-0.1]}]
    assert unknown == [{"text": "a", "token_ids": [7], "logprobs": None}, {"text": "b"}]
