"""What is remembered of texts is bounded, and right."""

from otel_exporter.remembered import OVERLAP, REMEMBERED_CHARACTERS, SHORTEST_BEGINNING, Beginnings, Texts


def test_texts_that_are_asked_for_stay_and_others_go() -> None:
    """No more than twice the bound is kept, whatever comes by."""
    texts = Texts()
    texts.keep((0, "asked for"), "became")
    for number in range(200):
        texts.keep((0, f"{number}" + "x" * (REMEMBERED_CHARACTERS // 50)), "other")
        assert texts.get((0, "asked for")) == "became"

    assert len(texts._recent) + len(texts._former) <= 102
    assert texts.get((1, "asked for")) is None
    assert texts.get((0, "0" + "x" * (REMEMBERED_CHARACTERS // 50))) is None


def test_very_long_texts_are_not_kept() -> None:
    """One of them would take the place of all others."""
    texts = Texts()
    texts.keep((0, "x" * REMEMBERED_CHARACTERS), "became")

    assert texts.get((0, "x" * REMEMBERED_CHARACTERS)) is None


def test_a_text_that_goes_on_is_looked_at_where_it_goes_on() -> None:
    """From a little before the last quotation mark; any other text, and a short one, from its start."""
    beginnings = Beginnings()
    said = '["' + "words " * SHORTEST_BEGINNING
    beginnings.keep(said + '"]')

    assert beginnings.end_of(said + '", "more"]') == len(said) - OVERLAP
    assert beginnings.end_of(said[:-9] + "others" * 9) == 0
    assert beginnings.end_of("short") == 0
