"""Whoever puts a record never waits and never learns of an error; nothing is lost that could be sent later."""

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry import context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_exporter.sending import sender as sending
from otel_exporter.sending.post import PREFIX, Post, Refused, Unreachable
from otel_exporter.sending.sender import Body, Sender


class Receiver:
    """Takes requests, or raises what it is told to."""

    def __init__(self) -> None:
        self.came: list[tuple[str, bytes]] = []
        self.problem: Exception | None = None

    def __call__(self, signal: str, body: bytes) -> None:
        if self.problem is not None:
            raise self.problem
        self.came.append((signal, body))

    def names(self) -> list[str]:
        """Return the names of the spans that came."""
        return [
            span["name"]
            for _, body in self.came
            for resource in json.loads(body)["resourceSpans"]
            for span in resource["scopeSpans"][0]["spans"]
        ]


def sender(post: Post, environment: Mapping[str, str] | None = None) -> Sender:
    return Sender(environment or {}, lambda _: post, every_s=0.0, closes_at_exit=False)


def put(to: Sender, name: str, make: Callable[[], Any] | None = None) -> None:
    to.put("traces", 10, make or (lambda: {"name": name}))


def broken() -> Any:
    raise KeyError


def test_settings_that_make_no_sense_leave_it_idle(caplog: pytest.LogCaptureFixture) -> None:
    """One warning that names the problem; what is put is not even made."""
    idle = Sender({f"{PREFIX}COMPRESSION": "zip"}, closes_at_exit=False)

    put(idle, "a", broken)

    assert (idle.is_able, idle.num_dropped, len(caplog.records)) == (False, 0, 1)
    assert "'zip'" in caplog.text
    assert idle.flush(0)


def test_an_odd_record_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot be made, or is none, does not hold up the others; it is said once."""
    receiver = Receiver()
    own = sender(receiver)

    for name, make in (("a", None), ("", broken), ("", lambda: None), ("", broken), ("b", None)):
        put(own, name, make)

    assert own.flush()
    assert (receiver.names(), own.num_dropped, len(caplog.records)) == (["a", "b"], 2, 1)
    own.close()


def test_what_a_receiver_refuses_is_dropped_and_the_rest_goes_on() -> None:
    """It will never take it; each of the items is counted."""
    receiver = Receiver()
    own = sender(receiver)
    receiver.problem = Refused("bad")
    own.put("traces", 10, lambda: Body(b"x", 7), num_items=7)
    assert own.flush()

    receiver.problem = None
    put(own, "b")

    assert own.flush()
    assert (receiver.names(), own.num_dropped) == (["b"], 7)
    own.close()


def test_what_could_not_be_sent_goes_first_when_the_receiver_is_back() -> None:
    """Oldest first; an encoded request as it is."""
    receiver = Receiver()
    own = sender(receiver)
    receiver.problem = Unreachable("away")
    put(own, "a")
    assert own.flush()
    assert receiver.came == []

    receiver.problem = None
    put(own, "b")

    assert own.flush()
    assert (receiver.names(), own.num_dropped) == (["a", "b"], 0)
    own.close()


def test_a_spool_keeps_it_for_the_program_after_this_one(tmp_path: Path) -> None:
    """What happens while the receiver is away is on disk."""
    receiver, environment = Receiver(), {f"{PREFIX}SPOOL": str(tmp_path)}
    receiver.problem = Unreachable("away")
    first = sender(receiver, environment)
    put(first, "a")
    assert first.flush()
    first.close()

    receiver.problem = None
    second = sender(receiver, environment)
    put(second, "b")

    assert second.flush()
    assert sorted(receiver.names()) == ["a", "b"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    second.close()


def test_more_than_fits_in_memory_is_dropped_before_it_is_made() -> None:
    """Counted by its items; what is smaller still goes."""
    receiver = Receiver()
    own = sender(receiver)

    own.put("traces", sending.MAX_WAITING_BYTES + 1, broken, num_items=3)
    put(own, "a")

    assert own.flush()
    assert (receiver.names(), own.num_dropped) == (["a"], 3)
    own.close()


def test_what_comes_after_the_end_is_counted() -> None:
    """Closing twice is closing once."""
    own = sender(Receiver())
    own.close()
    own.close()

    put(own, "late", broken)

    assert own.num_dropped == 1


def test_what_is_still_waiting_at_the_end_is_left_in_the_spool(tmp_path: Path) -> None:
    """The receiver hangs, and the program does not wait for it: what is being sent and what waits are both kept."""
    is_sending, may_go_on = threading.Event(), threading.Event()

    def hang(_signal: str, _body: bytes) -> None:
        is_sending.set()
        may_go_on.wait(30)
        raise Unreachable("away")

    own = sender(hang, {f"{PREFIX}SPOOL": str(tmp_path)})
    put(own, "a")
    assert is_sending.wait(30)
    put(own, "b")
    own.close(0)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    may_go_on.set()

    assert b'"a"' in kept
    assert b'"b"' in kept


def test_a_forked_child_sends_nothing_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent sends what it had waiting; its thread is not in the child."""
    receiver = Receiver()
    own = sender(receiver)
    with monkeypatch.context() as parent:
        parent.setattr(own, "_start", lambda: None)
        put(own, "parent")

    own.begin()
    put(own, "child")

    assert own.flush()
    assert receiver.names() == ["child"]
    own.close()


def test_what_sends_recordings_is_not_recorded() -> None:
    """Instrumentations of HTTP clients are asked to look away, in the thread that sends."""
    seen: list[object] = []
    own = sender(lambda _signal, _body: seen.append(context.get_value("suppress_instrumentation")))

    put(own, "a")

    assert own.flush()
    assert (seen, context.get_value("suppress_instrumentation")) == ([True], None)
    own.close()


def test_the_environment_names_the_process() -> None:
    """A service's own name goes before that among the attributes; pairs that are none are passed over."""
    read = sending.resource_attributes

    assert read({"OTEL_RESOURCE_ATTRIBUTES": "a=b%2Cc, odd,=x, service.name = one"}) == {
        "service.name": "one",
        "a": "b,c",
    }
    assert read({"OTEL_RESOURCE_ATTRIBUTES": "service.name=one", "OTEL_SERVICE_NAME": "two"}) == {"service.name": "two"}
    assert read({})["service.name"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.5, 1 << 62, "x", True])
def test_values_are_written_as_the_protocol_reads_them(value: object) -> None:
    """The numbers that JSON has no words for included."""
    record = {"name": "a", "attributes": sending.attributes({"v": value})}

    body = sending.encode("traces", [record], {"service.name": "s"})

    request = json_format.Parse(body, ExportTraceServiceRequest())
    read = request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value
    assert repr(getattr(read, str(read.WhichOneof("value")))) == repr(value)


def test_what_has_no_kind_of_its_own_is_json_text() -> None:
    """Integers that are too large for one, lists, objects, and whatever has only a text."""
    values = {"big": 1 << 63, "list": ["ä", None], "path": Path("x")}

    assert [entry["value"] for entry in sending.attributes(values)] == [
        {"stringValue": str(1 << 63)},
        {"stringValue": '["ä", null]'},
        {"stringValue": '"x"'},
    ]
