"""What the doctor finds, and that each finding names what mends it."""

import contextlib
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from foundation.errors import SettingsError
from foundation.web.keys import Scope, create_key
from otel_exporter.schema import GATEWAY_SCOPE
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from serve.schema import Registry, encode_file
from spanloop.doctor.finding import Finding
from spanloop.doctor.machine import check_clock, check_free_space, check_keys, check_machine
from spanloop.doctor.serving import check_serving
from spanloop.doctor.surroundings import check_surroundings, run_agent
from spanloop.doctor.traffic import capture_variables, check_receiver, check_traffic
from tests.export_requests import span, traces


def store(data: Path, *spans: Any, ago_s: int = 0) -> None:
    with contextlib.closing(Pipeline(data, clock=lambda: time.time_ns() - ago_s * 10**9)) as pipeline:
        pipeline.submit(read_protobuf(Signal.TRACES, traces(*spans).SerializeToString()), "default").result(10)


def about(findings: list[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def test_a_key_without_the_exporters_variable_is_named_with_it(tmp_path: Path) -> None:
    """No keys, nothing to say; with keys the variable must be set where exporters start."""
    assert list(check_keys(tmp_path, {})) == []
    create_key(tmp_path, name="agents", project="p", scopes=[Scope.INGEST])

    (missing,) = check_keys(tmp_path, {})
    (there,) = check_keys(tmp_path, {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer secret"})

    assert missing.verdict == "warn"
    assert 'OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer ' in (missing.remedy or "")
    assert there.verdict == "ok"
    assert "secret" not in f"{missing}{there}"


@pytest.mark.parametrize(("free_gib", "verdict"), [(0.5, "fail"), (2, "ok")])
def test_little_free_space_names_the_flags_that_free_some(free_gib: float, verdict: str) -> None:
    """The receiver would soon refuse requests."""
    finding = check_free_space(int(free_gib * 2**30), Path("data"))

    assert finding.verdict == verdict
    assert (verdict == "ok") == (finding.remedy is None)
    if finding.remedy:
        assert "--retain-days" in finding.remedy


def test_a_clock_before_this_release_is_wrong() -> None:
    """Spans would be filed under a day that is long over."""
    assert check_clock(0.0).verdict == "fail"
    assert check_clock(time.time()).verdict == "ok"


def test_traffic_that_lacks_something_names_the_variable_of_its_sender(tmp_path: Path) -> None:
    """Calls without messages and token ids, attributes an SDK dropped, a clock ahead of ours: per service."""
    call = span(1, name="chat")
    call.attributes.append(KeyValue(key="gen_ai.operation.name", value=AnyValue(string_value="chat")))
    call.dropped_attributes_count = 3
    early = span(2)
    early.end_time_unix_nano = time.time_ns() + 3600 * 10**9
    store(tmp_path, call, early)

    findings = list(check_traffic(tmp_path))

    for check, verdict, remedy in (
        ("content", "warn", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"),
        ("token ids", "warn", "OPENAI_BASE_URL"),
        ("limits", "warn", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        ("clock of agents", "warn", "timedatectl"),
        ("rewards", "warn", "/v1/rewards"),
    ):
        finding = about(findings, check)
        assert (finding.verdict, remedy in (finding.remedy or "")) == (verdict, True), finding
    assert "service agent" in about(findings, "limits").message


def test_traffic_that_lacks_nothing_is_not_complained_about(tmp_path: Path) -> None:
    """A span that is no call, whole and in time, gives no finding but the missing rewards."""
    store(tmp_path, span(1))

    assert {finding.check for finding in check_traffic(tmp_path) if finding.verdict != "ok"} == {"rewards"}


def test_the_gateways_own_spans_are_not_complained_about(tmp_path: Path) -> None:
    """They carry token ids by themselves; a service whose spans fail is named."""
    call = span(1, name="chat")
    call.attributes.append(KeyValue(key="gen_ai.operation.name", value=AnyValue(string_value="chat")))
    failed = span(2)
    failed.status.code = 2
    with contextlib.closing(Pipeline(tmp_path)) as pipeline:
        own = traces(call)
        own.resource_spans[0].scope_spans[0].scope.name = GATEWAY_SCOPE
        for message in (own, traces(failed)):
            pipeline.submit(read_protobuf(Signal.TRACES, message.SerializeToString()), "default").result(10)

    found = {finding.check for finding in check_traffic(tmp_path) if finding.verdict != "ok"}

    assert found == {"rewards", "failed spans"}


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, where a traceback stood."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)

    finding = about(list(check_machine(tmp_path)), "writing")

    assert finding.verdict == "fail"
    assert "Permission denied" in finding.message


def test_a_registry_whose_checkpoint_is_gone_fails(tmp_path: Path) -> None:
    """Also what was set aside, and spans that wait for a receiver."""
    registry = Registry(base="m", live=str(tmp_path / "gone"), live_version="v1", changed_time="")
    for path in ("serve/spool/1", "wal/quarantine/1"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    (tmp_path / "serve" / "registry.json").write_bytes(encode_file(registry))

    found = [*check_serving(tmp_path), *check_receiver(tmp_path)]

    assert about(found, "registry").verdict == "fail"
    assert {about(found, check).verdict for check in ("spool", "set aside")} == {"warn"}


@pytest.mark.parametrize(
    ("variables", "check", "remedy"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "sdk", "unset OTEL_SDK_DISABLED"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "exporter", "OTEL_TRACES_EXPORTER=otlp"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "sampling", "parentbased_always_on"),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "100"}, "limits", "unset OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        ({"TRACELOOP_TRACE_CONTENT": "false"}, "hidden content", "unset TRACELOOP_TRACE_CONTENT"),
        ({"OTEL_CONFIG_FILE": "otel.yaml"}, "config file", "otlp exporter"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "protocol",
            "PROTOCOL=grpc",
        ),
    ],
)
def test_variables_that_lose_spans_are_named(variables: dict[str, str], check: str, remedy: str) -> None:
    """And an environment without any is not complained of."""
    finding = about(list(check_surroundings(variables)), check)

    assert remedy in (finding.remedy or "")
    assert list(check_surroundings({"OTEL_TRACES_EXPORTER": "otlp,spanloop", "OTEL_TRACES_SAMPLER": "always_on"})) == []


def test_what_an_agent_complains_of_is_explained() -> None:
    """Its output passes through, its status and its last line are said."""
    program = "import sys; sys.exit('Overriding of current TracerProvider is not allowed')"

    found = list(run_agent([sys.executable, "-c", program], {}))

    assert {one.check for one in found} == {"provider overridden", "agent"}
    assert all(one.remedy for one in found)
    with pytest.raises(SettingsError, match="cannot be started"):
        list(run_agent(["no-such-agent"], {}))


def test_spans_whose_parent_never_came_tell_of_sampling(tmp_path: Path) -> None:
    """An episode with holes; a whole one is not complained of."""
    store(tmp_path, span(1), span(2, parent_span_id=(1).to_bytes(8, "big")), ago_s=600)
    assert "sampling" not in {one.check for one in check_traffic(tmp_path)}
    store(tmp_path, span(4, parent_span_id=(3).to_bytes(8, "big"), trace_state="ot=th:8"), ago_s=600)

    finding = about(list(check_traffic(tmp_path)), "sampling")

    assert "tracestate" in finding.message
    assert "parentbased_always_on" in (finding.remedy or "")
    assert {one.check for one in check_traffic(tmp_path, datetime.now(UTC))} == {"traces", "rewards"}


@pytest.mark.parametrize(
    ("scope", "variables"),
    [
        ("openinference.instrumentation.openai", "OPENINFERENCE_HIDE_INPUTS"),
        ("opentelemetry.instrumentation.openai.v1", "TRACELOOP_TRACE_CONTENT"),
        ("opentelemetry.instrumentation.openai_v2", "CAPTURE_MESSAGE_CONTENT"),
        ("gcp.vertex.agent", "ADK_CAPTURE"),
        ("agent_framework", "ENABLE_SENSITIVE_DATA"),
        ("pydantic-ai", "include_content"),
        ("ai", "recordInputs"),
    ],
)
def test_each_instrumentation_has_its_own_switch_for_content(scope: str, variables: str) -> None:
    """OpenTelemetry's variables are for OpenTelemetry's."""
    assert variables in capture_variables(scope)
