"""Tools' results that say of themselves that they are errors."""

import json
from typing import Any

import pytest

from etl.calls.completing.in_band_errors import in_band_error, move_errors
from etl.dialects.spans import Span, ToolCall


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"isError": True, "content": [{"type": "text", "text": "no quota"}]}, "no quota"),
        ({"is_error": True, "content": "gone"}, "gone"),
        ({"result": {"isError": True, "error": "deep"}}, "deep"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "boom"}}, "boom"),
        ({"error": "rate limited"}, "rate limited"),
        ({"success": False, "error": "no such order", "code": 404}, "no such order"),
        ([{"output": json.dumps({"is_error": True, "message": "within JSON"})}], "within JSON"),
    ],
)
def test_an_error_is_found_in_whatever_box_a_framework_put_it(result: Any, words: str) -> None:
    """In its own words."""
    assert in_band_error(json.dumps(result)) == words


@pytest.mark.parametrize(
    "result",
    [
        None, "isError", '{"isError": false, "content": "fine"}', '{"isError": "true"}',
        '{"error": null, "rows": []}', '{"error": "", "code": 0}', '{"error": "typo in line 3", "fixed": "line 3"}',
        '{"error": 0.25}', '{"error": "none", "ok": true}', '{"error": {"mean": 1.5}}',
        '{"text": "the flag isError is documented"}', '[{"isError": true}, {"isError": true}]',
        json.dumps({"result": {"result": {"result": {"isError": True}}}}),
    ],
)  # fmt: skip
def test_what_only_speaks_of_errors_is_none(result: str | None) -> None:
    """Nor is a flag that is not set, one among several results, or one deeper than any client puts it."""
    assert in_band_error(result) is None


def test_an_error_that_is_known_stays_as_it_is() -> None:
    """The span's own word for it comes first."""
    span = Span(0, "p", "t", "s", None, "", 1, 2, None, None, "", None, {})
    marked = '{"isError": true, "content": "told"}'
    moved, known = ToolCall(span, "x", result=marked), ToolCall(span, "x", result=marked, error="own")

    move_errors(moved)
    move_errors(known)

    assert (moved.error, moved.result) == ("told", None)
    assert (known.error, known.result) == ("own", marked)
