"""What a canary's observer makes of a store the receiver filled: calls, rewards, and what comes late or twice."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_exporter import schema as names
from receiver.intake.importing import import_files
from serve.canary.observations import MIN_CALLS, QUIET_S, Observer, find_slow
from serve.canary.verdict import Observation, begin
from serve.schema import Canary
from serve.settings import CanaryConfig

pytestmark = pytest.mark.integration

SECOND = 1_000_000_000
TOOLS = json.dumps([{"name": "add"}])


def pair(name: str, value: Any) -> KeyValue:
    kinds = {str: "string_value", float: "double_value", int: "int_value"}
    return KeyValue(key=name, value=AnyValue(**{kinds[type(value)]: value}))


class Store:
    """A store that spans and rewards arrive in."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.began_ns = time.time_ns()
        self._number = 0

    def _file(self, suffix: str, content: bytes) -> None:
        self._number += 1
        path = self.data.parent / f"{self._number:03}{suffix}"
        path.write_bytes(content)
        import_files(self.data, [path])

    def calls(self, *calls: dict[str, Any]) -> None:
        """Let gateway spans arrive: trace, arm, unit, after_s, took_s, and attributes."""
        request = ExportTraceServiceRequest()
        for call in calls:
            scope = request.resource_spans.add().scope_spans.add()
            scope.scope.name = names.GATEWAY_SCOPE
            span = scope.spans.add(name="chat", trace_id=bytes.fromhex(call["trace"] * 16))
            self._number += 1
            span.span_id = self._number.to_bytes(8, "big")
            span.start_time_unix_nano = self.began_ns + int(call.get("after_s", 1) * SECOND)
            span.end_time_unix_nano = span.start_time_unix_nano + int(call.get("took_s", 0.1) * SECOND)
            if "arm" in call:
                span.attributes.extend([pair(names.CANARY_ARM, call["arm"]), pair(names.CANARY_UNIT, call["unit"])])
            span.attributes.extend(pair(name, value) for name, value in call.get("attributes", {}).items())
            if "event" in call:
                event = span.events.add(name=names.EVALUATION_EVENT, time_unix_nano=span.end_time_unix_nano)
                event.attributes.extend(pair(name, value) for name, value in call["event"].items())
        self._file(".pb", request.SerializeToString())

    def reward(self, trace: str, value: float, name: str = "outcome", after_s: float = 2) -> None:
        """Let a reward arrive as a log record."""
        request = ExportLogsServiceRequest()
        record = (
            request.resource_logs.add()
            .scope_logs.add()
            .log_records.add(
                trace_id=bytes.fromhex(trace * 16),
                event_name=names.EVALUATION_EVENT,
                time_unix_nano=self.began_ns + int(after_s * SECOND),
            )
        )
        record.attributes.extend([pair(names.EVALUATION_NAME, name), pair(names.EVALUATION_SCORE, value)])
        self._file(".logs.pb", request.SerializeToString())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "data").mkdir()
    return Store(tmp_path / "data")


def canary(**settings: Any) -> Canary:
    return begin(Path("c"), "c-1", CanaryConfig(**settings), slow_s=1.0)


def read(observer: Observer, store: Store, after_s: float) -> list[tuple[str, str, float]]:
    found = list(observer.read(now_ns=store.began_ns + int(after_s * SECOND)))
    assert all(isinstance(each, Observation) for each in found)
    return sorted((each.arm, each.metric, each.value) for each in found)


def test_a_unit_counts_once_when_it_is_quiet(store: Store) -> None:
    """The mean over its calls; a call that comes later changes nothing; calls outside the canary are not looked at."""
    observer = Observer(store.data, canary())
    unread = {"gen_ai.tool.definitions": TOOLS, "gen_ai.output.messages": '[{"content": "<tool_call>{"}]'}
    store.calls(
        {"trace": "aa", "arm": "canary", "unit": "u"},
        {"trace": "ab", "arm": "canary", "unit": "u", "took_s": 2, "attributes": unread},
        {"trace": "ac", "arm": "live", "unit": "v", "attributes": {"error.type": "engine_failed"}},
        {"trace": "ac", "arm": "live", "unit": "v", "attributes": {"error.type": "cancelled"}},
        {"trace": "ac", "arm": "live", "unit": "v", "attributes": {"error.type": "400"}},
        {"trace": "ac", "arm": "live", "unit": "v", "attributes": {"error.type": "503"}},
        {"trace": "ad"},
    )
    assert read(observer, store, after_s=10) == []
    assert read(observer, store, after_s=QUIET_S + 10) == [
        ("canary", "errors", 0.0), ("canary", "slow", 0.5), ("canary", "unparsed", 0.5),
        ("live", "errors", 0.5), ("live", "slow", 0.0), ("live", "unparsed", 0.0),
    ]  # fmt: skip
    store.calls({"trace": "aa", "arm": "canary", "unit": "u", "attributes": {"error.type": "500"}})
    assert read(observer, store, after_s=2 * QUIET_S + 10) == []


def test_the_first_reward_of_a_unit_counts_however_it_comes(store: Store) -> None:
    """In a log record or on a span, before its call or after, scaled and held to its range; others do not count."""
    observer = Observer(store.data, canary(reward_low=-1.0, reward_high=3.0))
    store.reward("aa", 1.0)  # overtakes its call
    store.reward("ee", 1.0)  # of a trace nobody knows
    store.reward("bb", 0.5, name="style")
    assert read(observer, store, after_s=3) == []
    store.calls(
        {"trace": "aa", "arm": "canary", "unit": "u"},
        {"trace": "bb", "arm": "live", "unit": "v",
         "event": {names.EVALUATION_NAME: "outcome", names.EVALUATION_SCORE: 7.0}},
    )  # fmt: skip
    assert read(observer, store, after_s=4) == [("canary", "reward", 0.5), ("live", "reward", 1.0)]
    store.reward("aa", 3.0)
    store.reward("bb", -1.0)
    assert read(observer, store, after_s=5) == []


def test_what_is_read_after_a_restart_is_what_was_read_before(store: Store) -> None:
    """A new observer sees at once what an old one saw bit by bit, and nothing from before the share."""
    store.calls({"trace": "99", "arm": "live", "unit": "old", "after_s": -100})
    one, settings = Observer(store.data, fixed := canary()), fixed
    seen = read(one, store, after_s=1)
    for number in range(4):
        trace = f"a{number}"
        store.calls({"trace": trace, "arm": "canary" if number % 2 else "live", "unit": f"u{number}"})
        store.reward(trace, float(number % 2))
        seen += read(one, store, after_s=2 + number)
    seen += read(one, store, after_s=QUIET_S + 10)

    assert read(Observer(store.data, settings), store, after_s=QUIET_S + 10) == sorted(seen)
    assert len(seen) == 4 * 4


def test_what_is_slow_is_what_few_calls_were(store: Store) -> None:
    """The 95th percentile of the latest calls; nothing is said of a handful."""
    calls = [{"trace": "aa", "took_s": 0.1 * number} for number in range(1, MIN_CALLS + 1)]
    store.calls(*calls[: MIN_CALLS - 1])
    assert find_slow(store.data) is None
    store.calls(calls[-1])
    assert find_slow(store.data) == pytest.approx(0.1 * (1 + 0.95 * (MIN_CALLS - 1)), rel=1e-6)
