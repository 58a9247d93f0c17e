"""Rewards given over HTTP: each becomes the log record an evaluator would have sent by OTLP."""

import re
import time
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from pydantic import Field, ValidationError, field_validator

from foundation.errors import SettingsError
from foundation.settings import Settings
from otel_exporter.schema import (
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
    EVALUATION_SCORE,
)

SCOPE = "spanloop.rewards"
"""Instrumentation scope of the records made here."""


class Reward(Settings):
    """A judgement of a trace, or of one span in it."""

    trace_id: str
    """32 hex digits."""

    span_id: str | None = None
    """16 hex digits; without it the reward is for the whole trace."""

    name: str = Field(min_length=1)
    """What was judged, for example `outcome`."""

    value: float | None = Field(default=None, allow_inf_nan=False)
    """The score."""

    label: str | None = None
    """The score in words."""

    explanation: str | None = None
    """Why."""

    @field_validator("trace_id")
    @classmethod
    def _check_trace_id(cls, value: str) -> str:
        return _hex(value, 32)

    @field_validator("span_id")
    @classmethod
    def _check_span_id(cls, value: str | None) -> str | None:
        return None if value is None else _hex(value, 16)


def _hex(value: str, digits: int) -> str:
    if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value) or set(value) == {"0"}:
        raise ValueError(f"expected {digits} hex digits, not all zero")
    return value.lower()


def read(body: bytes) -> Reward:
    """Read a reward from JSON. Raises `SettingsError` naming the field that is wrong."""
    try:
        reward = Reward.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"not a reward: {problems}") from None
    if reward.value is None and reward.label is None:
        raise SettingsError("not a reward: it has neither value nor label")
    return reward


def as_request(reward: Reward, *, time_ns: int | None = None) -> bytes:
    """Return the OTLP logs request that says the same."""
    now = time.time_ns() if time_ns is None else time_ns
    record = LogRecord(
        time_unix_nano=now,
        observed_time_unix_nano=now,
        event_name=EVALUATION_EVENT,
        trace_id=bytes.fromhex(reward.trace_id),
        span_id=bytes.fromhex(reward.span_id or ""),
        attributes=[_attribute(EVALUATION_NAME, reward.name)],
    )
    if reward.value is not None:
        record.attributes.append(KeyValue(key=EVALUATION_SCORE, value=AnyValue(double_value=reward.value)))
    for key, text in ((EVALUATION_LABEL, reward.label), (EVALUATION_EXPLANATION, reward.explanation)):
        if text is not None:
            record.attributes.append(_attribute(key, text))
    scope = ScopeLogs(scope=InstrumentationScope(name=SCOPE), log_records=[record])
    body: bytes = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[scope])]).SerializeToString()
    return body


def _attribute(key: str, text: str) -> Any:  # noqa: ANN401 - generated class
    return KeyValue(key=key, value=AnyValue(string_value=text))
