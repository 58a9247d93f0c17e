"""What a span keeps of what was said, and what it never does."""

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from foundation.errors import SettingsError
from otel_exporter import schema as names
from otel_exporter.redaction import Redactor, build
from serve.api.answers import Choice, Recording
from serve.evidence.privacy import CAPTURE_VARIABLE, Privacy, captures_content
from serve.evidence.spans import Call, Policy, end_span, make_provider, start_span
from serve.settings import ServeConfig

SECRET = "alice@example.com"
IDS = [91, 92, 93, 94, 95]


def span(said: str) -> ReadableSpan:
    """End a call in which that was said everywhere something can be said."""
    choice = Choice(text=said, reasoning=said, token_ids=IDS, logprobs=[-0.125] * 5)
    choice.tool_calls[0] = {"id": "c", "name": "f", "arguments": json.dumps({"to": said})}
    recording = Recording(id="r", model="base", prompt_token_ids=IDS, choices={0: choice})
    request: dict[str, Any] = {
        "model": "base:live",
        "messages": [
            {"role": "system", "content": said},
            {"role": "user", "content": [{"type": "text", "text": said}]},
        ],
        "instructions": said,
        "stop": said,
        "tools": [{"type": "function", "function": {"name": "f", "description": said}}],
        "temperature": 0.5,
    }
    memory = InMemorySpanExporter()
    provider = make_provider(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("t")
    end_span(
        tracer,
        start_span(tracer, {}, is_chat=True, model="base"),
        Call(True, request, Policy("v1", None, None), "vllm", recording),
        2**62,
    )
    provider.shutdown()
    return memory.get_finished_spans()[0]


def test_by_default_everything_is_kept() -> None:
    """The loop learns from it."""
    whole = span("hello")

    assert Privacy().apply(whole) is whole


def test_without_content_nothing_says_what_was_said() -> None:
    """Neither text nor token ids; what was counted and who answered stays."""
    kept = Privacy(captures_content=False).apply(span(SECRET))

    text = kept.to_json()
    assert SECRET not in text
    assert "91" not in str(list((kept.attributes or {}).values()))
    assert (kept.attributes or {})[names.POLICY_VERSION] == "v1"
    assert (kept.attributes or {})["gen_ai.usage.input_tokens"] == len(IDS)
    assert (kept.attributes or {})["gen_ai.request.temperature"] == 0.5


def test_what_is_redacted_is_in_no_attribute_and_in_no_ids() -> None:
    """One placeholder for one address; a span that says nothing of the kind keeps its evidence."""
    privacy = Privacy(redactor=Redactor())

    kept, clean = privacy.apply(span(f"write to {SECRET}")), privacy.apply(span("hello"))

    assert SECRET not in kept.to_json()
    attributes = kept.attributes or {}
    assert names.PROMPT_TOKEN_IDS not in attributes
    assert names.CHOICE_TOKEN_IDS.format(index=0) not in attributes
    assert attributes[names.REDACTED]
    assert "<EMAIL_" in str(attributes["gen_ai.input.messages"])
    assert list((clean.attributes or {})[names.PROMPT_TOKEN_IDS]) == IDS  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "setting", "captures"),
    [
        ("", None, True),
        ("true", None, True),
        ("SPAN_AND_EVENT", None, True),
        ("span_only", None, True),
        ("False", None, False),
        ("NO_CONTENT", None, False),
        ("EVENT_ONLY", None, False),
        ("false", True, True),
        ("true", False, False),
    ],
)
def test_the_switch_is_opentelemetrys_own(said: str, setting: bool | None, captures: bool) -> None:
    """In the older form and the newer; a setting of ours wins."""
    assert captures_content(setting, {CAPTURE_VARIABLE: said}) is captures


def test_a_switch_or_a_pattern_that_makes_no_sense_stops_the_start() -> None:
    """Better no gateway than one that keeps what it must not."""
    with pytest.raises(SettingsError, match=CAPTURE_VARIABLE):
        captures_content(None, {CAPTURE_VARIABLE: "nope"})
    for settings in ({"redact": ("nonsense",)}, {"redact_patterns": {"T": "("}}, {"redact_key_file": "/nowhere"}):
        with pytest.raises(SettingsError):
            ServeConfig(**settings).redactor(build)
    assert ServeConfig().redactor(build) is None
