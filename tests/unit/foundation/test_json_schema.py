"""What a stranger's schema says of a value, and when it says nothing."""

from typing import Any

import pytest

from foundation.json_schema import judge


def alternatives(depth: int) -> dict[str, Any]:
    """Return a schema whose alternatives double at every level, none of which fits a text."""
    levels = {f"l{n}": {"anyOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/l0", "$defs": {**levels, f"l{depth}": {"type": "integer"}}}


def nested(depth: int) -> dict[str, Any]:
    """Return a schema of arrays in arrays."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "fits", "fits_not"),
    [
        ({"type": "object", "required": ["q"]}, {"q": 1}, {}),
        ({"properties": {"q": {"$ref": "#/$defs/q"}}, "$defs": {"q": {"type": "integer"}}}, {"q": 1}, {"q": "one"}),
        ({"properties": {"q": {"$ref": "#/definitions/q"}}, "definitions": {"q": {"enum": [1]}}}, {"q": 1}, {"q": 2}),
        ({"pattern": "^[a-z]+$"}, "abc", "ABC"),
        ({"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": False}, {"n_a": 1}, {"x": 1}),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "1"}),
        ({"uniqueItems": True}, [{"a": 1}, {"a": 2}], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]),
        ({"type": "array", "items": {"$ref": "#"}}, [[], [[]]], [[1]]),
        ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
    ],
)
def test_what_a_schema_says(schema: dict[str, Any], fits: object, fits_not: object) -> None:
    """As the draft has it, local references included."""
    assert judge(fits, schema) is True
    assert judge(fits_not, schema) is False


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        pytest.param({"a": 1}, {"properties": {"a": {"$ref": "#/$defs/gone"}}}, id="reference to nothing"),
        pytest.param(
            {"a": 1}, {"properties": {"a": {"$ref": "http://127.0.0.1:1/s.json"}}}, id="reference to a server"
        ),
        pytest.param({"a": 1}, {"$id": "http://127.0.0.1:1/a", "$ref": "b"}, id="reference beside an id"),
        pytest.param({"a": 1}, {"$ref": "file:///etc/hostname"}, id="reference to a file"),
        pytest.param({"a": 1}, {"$dynamicRef": "https://127.0.0.1:1/#x"}, id="dynamic reference to a server"),
        pytest.param({"a": 1}, {"$ref": "#"}, id="reference to itself"),
        pytest.param(
            {"a": 1},
            {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            id="references in a circle",
        ),
        pytest.param("text", alternatives(40), id="alternatives that multiply"),
        pytest.param("a" * 40 + "!", {"pattern": r"^(?=x)(a+)+$"}, id="a pattern only backtracking can search"),
        pytest.param("a" * 20_000, {"pattern": "^(a+)+$"}, id="a text too long to search"),
        pytest.param("a", {"pattern": "((a{1000}){1000}){1000}"}, id="a pattern that unfolds"),
        pytest.param("a", {"pattern": "("}, id="no pattern"),
        pytest.param({"a": 1}, {"type": "dictionary"}, id="no type"),
        pytest.param({"a": 1}, {"properties": []}, id="no schema"),
        pytest.param({"a": 1}, "object", id="no schema at all"),
        pytest.param([], nested(300), id="deeper than can be written"),
        pytest.param(["x" * 100_000], {"anyOf": [{"items": {"const": n}} for n in range(300)]}, id="many long errors"),
        pytest.param([0] * 20_000, {"items": {"enum": [3, 2, 1, 0]}}, id="many parts"),
        pytest.param({"a" * 40 + "!": 1}, {"patternProperties": {"^(?=a)(a+)+$": {}}}, id="a name to be searched"),
        pytest.param(
            {"a" * 40 + "!": 1},
            {"allOf": [{"patternProperties": {"^(a+)+$": {}}}], "unevaluatedProperties": False},
            id="a name that nobody evaluates",
        ),
    ],
)
def test_a_schema_that_cannot_say(value: object, schema: object) -> None:
    """It judges nothing, at once and without asking anybody: the guard of the tests refuses every connection."""
    assert judge(value, schema) is None


def test_a_pattern_that_backtracks_is_searched_all_the_same() -> None:
    """In linear time: with Python's engine this one never ends."""
    assert judge("a" * 5000 + "!", {"pattern": "^(a+)+$"}) is False
    assert judge("a" * 5000, {"pattern": "^(a+)+$"}) is True


def test_one_judgement_leaves_nothing_behind() -> None:
    """Work is counted anew each time."""
    assert judge("text", alternatives(40)) is None
    assert judge("text", {"type": "string"}) is True
