"""What the doctor finds in what arrived."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_exporter.schema import GATEWAY_SCOPE
from spanloop.doctor.traffic import capture_variables, check_receiver, check_traffic
from tests.export_requests import span
from tests.silent import nobody
from tests.unit.spanloop.doctor.stored import about, call, store


def test_traffic_that_lacks_something_names_the_variable_of_its_sender(tmp_path: Path) -> None:
    """Calls without messages and token ids, attributes an SDK dropped, a clock ahead of ours: per service."""
    cut = call()
    cut.dropped_attributes_count = 3
    early = span(2)
    early.end_time_unix_nano = time.time_ns() + 3600 * 10**9
    store(tmp_path, cut, early)

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


def test_before_anything_arrived_the_way_to_begin_is_said(tmp_path: Path) -> None:
    """And nothing else is complained of."""
    (finding,) = check_traffic(tmp_path)

    assert (finding.check, finding.verdict) == ("traces", "warn")
    assert "receiver run" in (finding.remedy or "")


def test_the_gateways_own_spans_are_not_complained_about(tmp_path: Path) -> None:
    """They carry token ids by themselves; a service whose spans fail is named."""
    failed = span(2)
    failed.status.code = 2
    store(tmp_path, call(), scope=GATEWAY_SCOPE)
    store(tmp_path, failed)

    found = {finding.check for finding in check_traffic(tmp_path) if finding.verdict != "ok"}

    assert found == {"rewards", "failed spans"}


def test_what_was_set_aside_is_counted(tmp_path: Path) -> None:
    """With the command that names it; an empty directory is nothing."""
    kept = tmp_path / "wal" / "quarantine"
    kept.mkdir(parents=True)
    assert list(check_receiver(tmp_path)) == []
    (kept / "1").touch()

    (finding,) = check_receiver(tmp_path)

    assert (finding.check, finding.verdict, "receiver verify" in (finding.remedy or "")) == ("set aside", "warn", True)


def test_each_receiver_that_is_named_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own address."""
    with nobody() as one, nobody() as other:
        monkeypatch.setenv("SPANLOOP_RECEIVER", f"{one} {other}")
        found = list(check_receiver(tmp_path))

    assert [(each.verdict, each.message.split()[3]) for each in found] == [("fail", one), ("fail", other)]


def test_spans_whose_parent_never_came_tell_of_sampling(tmp_path: Path) -> None:
    """An episode with holes; a whole one is not complained of."""
    store(tmp_path, span(1), span(2, parent_span_id=(1).to_bytes(8, "big")), ago_s=600)
    assert "sampling" not in {one.check for one in check_traffic(tmp_path)}
    store(tmp_path, span(4, parent_span_id=(3).to_bytes(8, "big"), trace_state="ot=th:8"), ago_s=600)

    finding = about(check_traffic(tmp_path), "sampling")

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
