"""What one span holds, whatever it is, costs that span's call at most: the others of the night are published."""

import json
from typing import Any

import pytest

from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from otel_exporter import schema as names
from tests.spans import gateway, llm, logs_frame, span, spans_frame


def beside_another(strange: dict[str, Any]) -> Dataset:
    """Run the ETL over a strange call and an ordinary one."""
    spans = [span("root", end=9), strange, llm("ordinary", parent="root", start=3, end=4)]
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))


def offering(parameters: object) -> dict[str, Any]:
    """Return a call that is offered a tool with these parameters, and calls it."""
    offer = json.dumps([{"type": "function", "name": "search", "parameters": parameters}])
    attributes = {"gen_ai.tool.definitions": offer}
    return llm("strange", parent="root", start=1, end=2, calls=[("1", "search", {"q": "x"})], attributes=attributes)


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"properties": {"q": {"$ref": "#/$defs/Gone"}}}, id="reference to nothing"),
        pytest.param({"$ref": "http://127.0.0.1:1/s.json"}, id="reference to a server"),
        pytest.param({"$ref": "#"}, id="endless"),
        pytest.param({"properties": {"q": {"pattern": "("}}}, id="no pattern"),
        pytest.param({"type": "made up"}, id="no schema"),
    ],
)
def test_a_schema_that_cannot_be_used_says_nothing(parameters: object) -> None:
    """Both calls are transitions; the signal has nothing to say of the first."""
    rows = beside_another(offering(parameters)).tables["transitions"]

    assert [json.loads(text).get("argument_schema") for text in rows["signals"]] == [None, None]


def test_a_format_that_cannot_be_used_says_nothing() -> None:
    """The schema of a structured answer is a stranger's too."""
    wanted = {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/$defs/Gone"}}}
    asked = {"gen_ai.request.response_format": json.dumps(wanted)}
    rows = beside_another(llm("strange", parent="root", start=1, said="{}", attributes=asked)).tables["transitions"]

    assert [json.loads(text).get("output_format") for text in rows["signals"]] == [None, None]


@pytest.mark.parametrize(("prompt", "answer"), [([1, 2**33], [1]), ([1], [2**31]), ([-1], [1]), ([1], [5, -100])])
def test_token_ids_that_no_vocabulary_has(prompt: list[int], answer: list[int]) -> None:
    """That call is rejected for them; its text stays in `llm_calls`, and the call beside it is published."""
    strange = gateway(
        "strange",
        parent="root",
        start=1,
        end=2,
        asked=[("user", "ids?")],
        prompt_ids=prompt,
        ids=answer,
        logprobs=[-1.0] * len(answer),
    )

    tables = beside_another(strange).tables

    assert tables["rejected"]["reason"].to_list() == ["ids_out_of_range"]
    assert tables["llm_calls"]["prompt_token_ids"].to_list() == [None, None]
    assert tables["transitions"].height == 1


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.request.top_k": 2**70},
        {"gen_ai.usage.output_tokens": 2**70},
        {names.CHOICE_LOGPROBS.format(index=0): [1e300]},
    ],
)
def test_numbers_that_no_column_holds(attributes: dict[str, Any]) -> None:
    """They are unknown; both calls are transitions."""
    strange = llm("strange", parent="root", start=1, attributes=attributes)

    assert beside_another(strange).tables["transitions"].height == 2
