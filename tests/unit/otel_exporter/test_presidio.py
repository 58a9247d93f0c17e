"""Presidio is asked for by name, says what it lacks, and downloads nothing."""

import importlib.util

import pytest

from otel_exporter.redaction import Redactor, build

IS_INSTALLED = importlib.util.find_spec("presidio_analyzer") is not None


def redactor(*kinds: str) -> Redactor:
    found = build(kinds, patterns={}, names=[], key="")
    assert found is not None
    return found


@pytest.mark.skipif(IS_INSTALLED, reason="Presidio is installed")
@pytest.mark.parametrize("kind", ["presidio", "presidio-patterns"])
def test_without_presidio_nothing_is_sent_rather_than_names(kind: str) -> None:
    """The error says what to install."""
    with pytest.raises(ValueError, match="pip install presidio-analyzer"):
        redactor("all", kind)


@pytest.mark.skipif(not IS_INSTALLED, reason="pip install presidio-analyzer")
def test_patterns_of_presidio_want_no_model_and_no_network() -> None:
    """What our own patterns know keeps its kind; names stay, since nothing knows them."""
    text = redactor("all", "presidio-patterns").text("Bob of 192.168.17.4 is bob@example.com.")

    assert text.startswith("Bob of <IP_ADDRESS_")
    assert text.endswith(">.")
    assert " is <EMAIL_" in text


@pytest.mark.skipif(not IS_INSTALLED, reason="pip install presidio-analyzer")
def test_names_want_a_model_that_is_installed() -> None:
    """Presidio would download one."""
    import spacy

    if spacy.util.get_installed_models():
        pytest.skip("a model is installed")
    with pytest.raises(ValueError, match="spacy download"):
        redactor("presidio")
