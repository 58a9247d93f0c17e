"""Rewards given over HTTP: each becomes the log record an evaluator would have sent by OTLP."""

import dataclasses
import re
import time
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from pydantic import Field, ValidationError, field_validator

from foundation.errors import SettingsError
from foundation.settings import Settings
from otel_exporter.schema import (
    EPISODE_ID,
    EVALUATION_EVENT,
    EVALUATION_EXPLANATION,
    EVALUATION_LABEL,
    EVALUATION_NAME,
    EVALUATION_SCORE,
)
from receiver.decode.otlp import Request, Signal

SCOPE = "spanloop.rewards"
"""Instrumentation scope of the records made here."""


class Reward(Settings):
    """A judgement of a trace, of one span in it, or of what another id names; the most exact of them counts."""

    trace_id: str | None = None
    """32 hex digits."""

    span_id: str | None = None
    """16 hex digits, of a span of that trace; without it the reward is for the whole trace."""

    response_id: str | None = Field(default=None, min_length=1)
    """Id of a model's answer, as the client or the gateway was given it: the reward is for that call."""

    episode_id: str | None = Field(default=None, min_length=1)
    """Id of an episode (`spanloop.episode.id`, or the one in the gateway's URL)."""

    session_id: str | None = Field(default=None, min_length=1)
    """Id of a conversation or session: the reward is for each of its episodes that gets none of its own."""

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
    def _check_trace_id(cls, value: str | None) -> str | None:
        return None if value is None else _hex(value, 32)

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
    if not any((reward.trace_id, reward.response_id, reward.episode_id, reward.session_id)):
        raise SettingsError("not a reward: it names no trace_id, response_id, episode_id or session_id")
    if reward.span_id is not None and reward.trace_id is None:
        raise SettingsError("not a reward: a span_id needs the trace_id of its trace")
    return reward


def as_request(reward: Reward, *, time_ns: int | None = None) -> bytes:
    """Return the OTLP logs request that says the same."""
    now = time.time_ns() if time_ns is None else time_ns
    record = LogRecord(
        time_unix_nano=now,
        observed_time_unix_nano=now,
        event_name=EVALUATION_EVENT,
        trace_id=bytes.fromhex(reward.trace_id or ""),
        span_id=bytes.fromhex(reward.span_id or ""),
        attributes=[_attribute(EVALUATION_NAME, reward.name)],
    )
    if reward.value is not None:
        record.attributes.append(KeyValue(key=EVALUATION_SCORE, value=AnyValue(double_value=reward.value)))
    for key, text in (
        (EVALUATION_LABEL, reward.label),
        (EVALUATION_EXPLANATION, reward.explanation),
        ("gen_ai.response.id", reward.response_id),
        (EPISODE_ID, reward.episode_id),
        ("gen_ai.conversation.id", reward.session_id),
    ):
        if text is not None:
            record.attributes.append(_attribute(key, text))
    scope = ScopeLogs(scope=InstrumentationScope(name=SCOPE), log_records=[record])
    body: bytes = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[scope])]).SerializeToString()
    return body


def _attribute(key: str, text: str) -> Any:  # noqa: ANN401 - generated class
    return KeyValue(key=key, value=AnyValue(string_value=text))


REWARD_ATTRIBUTE = re.compile(
    r"(?:(?:trace|session)\.)?(?:annotations|evaluations)\.\d+\.|gen_ai\.evaluation\.|agentlightning\.reward\."
)
"""Attributes of a span that the ETL takes for rewards: OpenInference's, the GenAI conventions', agent-lightning's."""

REWARD_OUTPUTS = ("agentops.task.output", "agentops.entity.output")
"""Where agent-lightning 0.1 puts a reward, as the JSON object {"type": "reward", "value": 1.0}."""

MARKS = (EVALUATION_EVENT.encode(), b"annotation.score", b"evaluation.score", b"agentlightning.", b"agentops.")


def without_rewards(request: Request) -> Request:
    """Return a request without the evaluations in it, saying so: its sender may not give rewards."""
    if not any(mark in request.body for mark in MARKS):
        return request
    message = request.message
    num_taken = _strip_logs(message) if request.signal is Signal.LOGS else _strip_spans(message)
    if not num_taken:
        return request
    problem = f"{num_taken} evaluations were left out: this key has no scope reward"
    return dataclasses.replace(
        request,
        body=message.SerializeToString(),
        spans=None,
        num_rejected=request.num_rejected + (num_taken if request.signal is Signal.LOGS else 0),
        num_rewards_refused=num_taken,
        problem="; ".join(part for part in (request.problem, problem) if part),
    )


def _strip_logs(message: Any) -> int:  # noqa: ANN401 - generated class
    num_taken = 0
    for resource in message.resource_logs:
        for scope in resource.scope_logs:
            kept = [record for record in scope.log_records if not _is_evaluation(record)]
            num_taken += len(scope.log_records) - len(kept)
            if len(kept) < len(scope.log_records):
                copies = [LogRecord.FromString(record.SerializeToString()) for record in kept]
                del scope.log_records[:]
                scope.log_records.extend(copies)
    return num_taken


def _is_evaluation(record: Any) -> bool:  # noqa: ANN401 - generated class
    return record.event_name == EVALUATION_EVENT or any(
        pair.key == "event.name" and pair.value.string_value == EVALUATION_EVENT for pair in record.attributes
    )


SCORES = (".score", ".score.value", ".value")
"""Ends of the attribute that is the score among those of one evaluation."""


def _strip_spans(message: Any) -> int:  # noqa: ANN401 - generated class
    num_taken = 0
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                for index in reversed(range(len(span.events))):
                    if span.events[index].name == EVALUATION_EVENT:
                        del span.events[index]
                        num_taken += 1
                is_annotation = _is_annotation(span)
                for index in reversed(range(len(span.attributes))):
                    pair = span.attributes[index]
                    is_older = is_annotation and _is_older_reward(pair)
                    if is_older or REWARD_ATTRIBUTE.match(pair.key):
                        num_taken += is_older or pair.key.endswith(SCORES)
                        del span.attributes[index]
    return num_taken


def _is_annotation(span: Any) -> bool:  # noqa: ANN401 - generated class
    """Tell whether the ETL looks for agent-lightning's rewards on the span."""
    return span.name.startswith("agentlightning.") or any(
        pair.key.startswith("agentlightning.") or pair.key == "agentops.span.kind" for pair in span.attributes
    )


def _is_older_reward(pair: Any) -> bool:  # noqa: ANN401 - generated class
    """Tell whether an attribute of an annotation is a reward as agent-lightning 0.1 or 0.2 writes it."""
    if pair.key == "reward":
        return True
    if pair.key not in REWARD_OUTPUTS:
        return False
    try:
        output = orjson.loads(pair.value.string_value)
    except orjson.JSONDecodeError:
        return False
    return isinstance(output, dict) and output.get("type") == "reward"
