"""Rewards over HTTP become the log records evaluators send."""

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from etl.settings import EtlConfig
from etl.transform import transform
from foundation.errors import SettingsError
from receiver.decode.arrow import decode
from receiver.decode.otlp import Request, Signal, read_protobuf
from receiver.intake import rewards
from tests.spans import identifier, logs_frame, span, spans_frame

TRACE_ID = "0123456789abcdef0123456789abcdef"


def test_a_reward_is_an_evaluation_event() -> None:
    """Ids, name, score, label and explanation arrive where the conventions put them."""
    body = {"trace_id": TRACE_ID.upper(), "span_id": "00000000000000ab", "name": "outcome", "value": 0.5, "label": "ok"}
    request = read_protobuf(Signal.LOGS, rewards.as_request(rewards.read(json.dumps(body).encode()), time_ns=1_000))

    row = decode(Signal.LOGS, request.message, project="default", received_ns=2_000, seq=1).to_pylist()[0]

    assert (row["trace_id"], row["span_id"], row["time_ns"]) == (TRACE_ID, "00000000000000ab", 1_000)
    assert row["event_name"] == "gen_ai.evaluation.result"
    assert json.loads(row["attributes"]) == {
        "gen_ai.evaluation.name": "outcome",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "ok",
    }


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("response_id", "gen_ai.response.id"),
        ("episode_id", "spanloop.episode.id"),
        ("session_id", "gen_ai.conversation.id"),
    ],
)
def test_a_reward_names_what_its_sender_knows(field: str, name: str) -> None:
    """An agent without instrumentation knows no trace id; a truth value is a score."""
    reward = rewards.read(json.dumps({field: "x-1", "name": "outcome", "value": True}).encode())
    request = read_protobuf(Signal.LOGS, rewards.as_request(reward))

    row = decode(Signal.LOGS, request.message, project="default", received_ns=2_000, seq=1).to_pylist()[0]

    assert row["trace_id"] is None
    assert json.loads(row["attributes"]) == {
        "gen_ai.evaluation.name": "outcome",
        "gen_ai.evaluation.score.value": 1.0,
        name: "x-1",
    }


def test_a_label_alone_gives_no_score() -> None:
    """A missing value stays missing; it is never 0."""
    reward = rewards.read(json.dumps({"trace_id": TRACE_ID, "name": "tone", "label": "rude"}).encode())
    request = read_protobuf(Signal.LOGS, rewards.as_request(reward))

    row = decode(Signal.LOGS, request.message, project="default", received_ns=2_000, seq=1).to_pylist()[0]

    assert "gen_ai.evaluation.score.value" not in json.loads(row["attributes"])
    assert row["span_id"] is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"trace_id": "xyz"}, "trace_id"),
        ({"trace_id": None}, "names no trace_id, response_id"),
        ({"trace_id": None, "response_id": ""}, "response_id"),
        ({"trace_id": None, "episode_id": "e", "span_id": "00000000000000ab"}, "a span_id needs the trace_id"),
        ({"trace_id": "0" * 32}, "trace_id"),
        ({"span_id": "12"}, "span_id"),
        ({"name": ""}, "name"),
        ({"value": "NaN"}, "value"),
        ({"value": None}, "neither value nor label"),
        ({"valeu": 1}, "valeu"),
    ],
)
def test_what_is_wrong_with_a_reward_is_named(change: dict[str, object], named: str) -> None:
    """The message names the field and quotes no value."""
    body = {"trace_id": TRACE_ID, "name": "outcome", "value": 1.0, **change}
    with pytest.raises(SettingsError, match=named):
        rewards.read(json.dumps(body).encode())


@pytest.mark.parametrize(
    "key",
    [
        "annotations.0.annotation.score",
        "trace.evaluations.1.evaluation.score",
        "gen_ai.evaluation.score.value",
        "agentlightning.reward.0.value",
    ],
)
def test_scores_among_a_spans_attributes_need_the_scope_too(key: str) -> None:
    """They are taken out and counted; the rest of the span is stored."""
    export = ExportTraceServiceRequest()
    message = export.resource_spans.add().scope_spans.add().spans.add(name="s")
    message.trace_id, message.span_id = bytes.fromhex(TRACE_ID), bytes.fromhex(identifier("s", 16))
    message.attributes.add(key=key).value.double_value = 1.0
    message.attributes.add(key="harmless").value.string_value = "kept"

    request = rewards.without_rewards(read_protobuf(Signal.TRACES, export.SerializeToString()))

    row = decode(Signal.TRACES, request.message, project="default", received_ns=2_000, seq=1).to_pylist()[0]
    assert json.loads(row["attributes"]) == {"harmless": "kept"}
    assert (request.num_rewards_refused, "no scope reward" in request.problem) == (1, True)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("agentlightning.annotation", {"reward": 0.5}),
        ("reward", {"agentlightning.tag.0": "x", "reward": "0.5"}),
        ("reward", {"agentops.span.kind": "task", "agentops.task.output": '{"type": "reward", "value": 1.0}'}),
        ("reward", {"agentops.span.kind": "tool", "agentops.entity.output": r'{"type": "re\u0077ard", "value": 1}'}),
    ],
)
def test_rewards_of_older_agentlightning_need_the_scope_too(name: str, attributes: dict[str, object]) -> None:
    """All that the ETL would take for one is taken out, and counted."""
    assert agentlightning_rewards(name, attributes) != []

    request = rewards.without_rewards(traces_request(name, attributes))

    (row,) = decode(Signal.TRACES, request.message, project="default", received_ns=2_000, seq=1).to_pylist()
    assert agentlightning_rewards(name, json.loads(row["attributes"])) == []
    assert request.num_rewards_refused == 1


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("app", {"reward": 0.5}),
        ("search", {"agentops.span.kind": "tool", "agentops.entity.output": "no reward"}),
        ("search", {"agentops.span.kind": "tool", "agentops.entity.output": '{"type": "page", "text": "reward"}'}),
    ],
)
def test_what_no_reward_is_stays(name: str, attributes: dict[str, object]) -> None:
    """An attribute of somebody's own by that name, and outputs of tools."""
    request = rewards.without_rewards(traces_request(name, attributes))

    (row,) = decode(Signal.TRACES, request.message, project="default", received_ns=2_000, seq=1).to_pylist()
    assert json.loads(row["attributes"]) == attributes
    assert request.num_rewards_refused == 0


def traces_request(name: str, attributes: dict[str, object]) -> Request:
    """Return a request of one span."""
    export = ExportTraceServiceRequest()
    message = export.resource_spans.add().scope_spans.add().spans.add(name=name)
    message.trace_id, message.span_id = bytes.fromhex(TRACE_ID), bytes.fromhex(identifier("s", 16))
    for key, value in attributes.items():
        pair = message.attributes.add(key=key)
        if isinstance(value, float):
            pair.value.double_value = value
        else:
            pair.value.string_value = str(value)
    return read_protobuf(Signal.TRACES, export.SerializeToString())


def agentlightning_rewards(name: str, attributes: dict[str, object]) -> list[tuple[str, float]]:
    """Return the rewards that the ETL reads from such a span."""
    frame = spans_frame([span(name, attributes=dict(attributes))])
    table = transform(frame, logs_frame(), EtlConfig(complete_after=0)).tables["rewards"]
    return list(table.select("name", "value").iter_rows())
