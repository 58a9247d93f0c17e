"""Finds what no pattern can, names of people and places above all, with Presidio (`pip install presidio-analyzer`)."""

from collections.abc import Iterable

from otel_exporter.sensitive import Finder, Found

KINDS = {
    "PERSON": "NAME", "EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "PHONE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
}  # fmt: skip
"""Our names of what Presidio names otherwise; the rest keep theirs."""


def finder(language: str = "en", threshold: float = 0.5, entities: "list[str] | None" = None) -> Finder:
    """Return a finder that asks Presidio's analyzer; it loads a language model, which takes seconds and memory.

    ValueError where Presidio is not installed. `threshold` is the least certainty at which something counts.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError:
        raise ValueError("presidio is asked for and not installed: pip install presidio-analyzer") from None
    engine = AnalyzerEngine()

    def find(text: str) -> Iterable[Found]:
        for one in engine.analyze(text, language=language, entities=entities, score_threshold=threshold):
            yield one.start, one.end, KINDS.get(one.entity_type, one.entity_type)

    return find
