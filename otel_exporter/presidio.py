"""Finds what our own patterns do not, with Presidio: names of people and places, and numbers of many countries.

`pip install presidio-analyzer`; names want a model of spaCy's beside it. Nothing is downloaded at run time, which
Presidio left alone would do.
"""

from collections.abc import Iterable

from otel_exporter.sensitive import Finder, Found

KINDS = {
    "PERSON": "NAME", "EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "PHONE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
}  # fmt: skip
"""Our names of what Presidio names otherwise; the rest keep theirs."""


def finder(
    language: str = "en", threshold: float = 0.5, entities: "list[str] | None" = None, *, names: bool = True
) -> Finder:
    """Return a finder that asks Presidio's analyzer; with `names` it loads a model, which takes seconds and memory.

    ValueError where Presidio, or for names a model of the language, is not installed. `threshold` is the least
    certainty at which something counts.
    """
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError:
        raise ValueError("presidio is asked for and not installed: pip install presidio-analyzer") from None
    installed = sorted(name for name in spacy.util.get_installed_models() if name.startswith(f"{language}_"))
    if names and not installed:
        raise ValueError(
            f"presidio finds names with a model of spaCy's, and none of {language!r} is installed: "
            "python -m spacy download en_core_web_lg, or ask for presidio-patterns, which finds no names"
        )
    nlp = SpacyNlpEngine([{"lang_code": language, "model_name": installed[0]}] if names else None)
    if not names:
        nlp.nlp = {language: spacy.blank(language)}  # words, and nothing of what they mean
    engine = AnalyzerEngine(nlp_engine=nlp, supported_languages=[language])
    engine.registry.remove_recognizer("EmailRecognizer")  # it fetches a list of domains; ours finds addresses

    def find(text: str) -> Iterable[Found]:
        for one in engine.analyze(text, language=language, entities=entities, score_threshold=threshold):
            yield one.start, one.end, KINDS.get(one.entity_type, one.entity_type)

    return find
