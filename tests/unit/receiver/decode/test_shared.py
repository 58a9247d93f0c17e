"""Long texts of a resource: kept once, referred to by their digest, compared alike however they are kept."""

import duckdb

from receiver.decode.shared import MAX_INLINE_BYTES, PREFIX, SharedTexts, canonical, reference_to


def test_only_long_texts_are_referred_to() -> None:
    """What is short stands in the row; the same long one has one reference."""
    shared = SharedTexts()
    short, long = "s" * MAX_INLINE_BYTES, "l" * (MAX_INLINE_BYTES + 1)

    assert [shared.refer(None), shared.refer(short)] == [None, short]
    assert shared.refer(long) == shared.refer(long) == reference_to(long)
    assert shared.texts == {reference_to(long): long}


def test_a_text_and_the_reference_to_it_are_the_same_content() -> None:
    """A span that comes again is known again, whichever way its resource was kept."""
    text = '{"a": 1}'
    expression = canonical("resource")

    rows = duckdb.execute(
        f"select {expression} from (values (?), (?)) as kept(resource)", [text, reference_to(text)]
    ).fetchall()

    assert rows[0] == rows[1]
    assert rows[0][0].startswith(PREFIX)
