"""What stands in an address is taken for what it can be, whatever it is."""

from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request

from spanloop.page.entrance import Visitor
from spanloop.page.visit import Visit


def visit(**query: str) -> Visit:
    path = "/?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())
    nobody = Visitor("", None, frozenset())
    return Visit(
        make_mocked_request("GET", path), nobody, Path(), cast("Any", None), cast("Any", None), needs_key=False
    )


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("-3", 0), ("x", 5), ("", 5), ("9" * 30, 100), ("1.5", 5), ("\u0663", 3)]
)
def test_a_whole_number_is_within_its_bounds(text: str, number: int) -> None:
    """Or the default."""
    assert visit(n=text).whole("n", 5, most=100) == number


@pytest.mark.parametrize(("text", "number"), [("0.5", 0.5), ("nan", None), ("inf", None), ("x", None), ("", None)])
def test_a_real_number_is_finite(text: str, number: float | None) -> None:
    """Or none."""
    assert visit(n=text).real("n") == number


def test_texts_are_cut_and_can_be_sent() -> None:
    """No database takes the character zero."""
    assert visit(q="a\0b").argument("q") == "ab"
    assert len(visit(q="x" * 1000).argument("q")) == 500
    assert visit(kind="other").chosen("kind", ["one", "two"], "one") == "one"


def test_one_of_several_letters_is_one_of_them() -> None:
    """No two of them."""
    assert [visit(kind=text).chosen("kind", "ABC", "none") for text in ("B", "AB", "")] == ["B", "none", "none"]
