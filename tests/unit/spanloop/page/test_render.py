"""How values are written: what is no number, no instant and no JSON stays what it is, escaped."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloop.page import render


@pytest.mark.parametrize("value", [None, "x", True, 10**30, -1e300, float("nan"), float("inf"), [], {"a": 1}, "<b>"])
def test_every_filter_takes_every_value(value: Any) -> None:
    """Cells hold whatever a query answers."""
    for filter_ in (
        render.number, render.signed, render.percent, render.seconds, render.instant, render.size, render.short,
        render.pretty, render.sign_class,
    ):  # fmt: skip
        assert "<b>" not in str(filter_(value)) or filter_ in (
            render.number,
            render.signed,
            render.short,
            render.pretty,
        )


def test_nothing_is_trusted_markup() -> None:
    """Filters return text, which the template escapes, or markup made here."""
    made = render.environment().from_string("{{ v|number }}{{ v|short }}{{ v|pretty }}{{ v|instant }}{{ v|signed }}")

    assert "<script" not in made.render(v="<script>alert(1)</script>")


@given(st.text(st.sampled_from("a\u05d0\u202a\u202e\u202c\u2066\u2067\u2069"), max_size=9))
def test_no_text_turns_the_words_after_it(text: str) -> None:
    """What it opens it closes, the last first; its own letters stay as they are."""
    made = render.environment().from_string("{{ v|short }}|after").render(v=text)

    depth: list[str] = []
    for letter in made.partition("|")[0]:
        if letter in "\u202a\u202e\u2066\u2067":
            depth.append("\u202c" if letter < "\u2066" else "\u2069")
        elif depth[-1:] == [letter]:
            depth.pop()
    assert depth == []
    assert made.startswith(" ".join(text.split()))


def test_instants_are_in_utc_and_marked_for_the_readers_zone() -> None:
    """From nanoseconds and from text alike."""
    assert render.instant(1_796_030_419_918_138_112) == (
        '<time datetime="2026-11-30T09:20:19.918+00:00">2026-11-30 09:20:19 UTC</time>'
    )
    assert "2026-01-01 00:00:00 UTC" in render.instant("2026-01-01T01:00:00+01:00")


def test_long_json_is_said_to_be_cut() -> None:
    """Nothing ends silently."""
    assert render.pretty('{"a": 1}') == '{\n  "a": 1\n}'
    assert render.pretty("x" * 30, most=10).endswith("20 more characters")


def test_every_file_has_an_address_that_changes_with_it() -> None:
    """So that browsers may keep them."""
    versions = render.environment().globals["version"]

    assert {"page.css", "page.js", "icon.svg"} <= set(versions)
