"""What stands between the agents and a trained model, each with the setting that mends it."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field
from rich.console import Console

from foundation.errors import SpanloopError
from foundation.keys import read_keys
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Settings
from otel_exporter.schema import GATEWAY_SCOPE
from receiver.schema import Reader, connect

Verdict = Literal["ok", "warn", "fail"]

MIN_FREE_BYTES = 1 << 30
SLOW_FSYNC_MS = 50.0

USUAL_HOLDERS = {4317: "an OpenTelemetry Collector", 4318: "an OpenTelemetry Collector", 8000: "a vLLM server"}
"""Who conventionally listens on the ports we use by default."""


class DoctorConfig(Settings):
    """Settings of the check."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory the receiver writes to."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    message: str
    remedy: str | None = None


def doctor(
    *,
    config: Annotated[DoctorConfig, Parameter(name="*")] = DoctorConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Look for what stands between the agents and a trained model, and say how to mend it.

    Ends with status 1 when something must be mended before spans can be taken.

    Example: spanloop doctor --data /var/lib/spanloop

    Parameters
    ----------
    as_json
        Print the findings as a report on stdout.
    """
    report = RunReport("doctor", config.model_dump(mode="json"))
    findings = [*check_machine(config.data), *check_traffic(config.data)]
    report.update(findings=[asdict(finding) for finding in findings])
    if as_json:
        report.print()
    else:
        _print(findings)
    failed = [finding.check for finding in findings if finding.verdict == "fail"]
    if failed:
        raise SpanloopError(f"{len(failed)} checks failed: {', '.join(failed)}")


def _print(findings: list[Finding]) -> None:
    console = Console()
    color = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        console.print(
            f"[{color[finding.verdict]}]{finding.verdict:<4}[/] {finding.message}", highlight=False, soft_wrap=True
        )
        if finding.remedy:
            console.print(f"     {finding.remedy}", highlight=False, soft_wrap=True)


def check_machine(data: Path) -> Iterator[Finding]:
    """Look at the ports, the disk below DATA, the engine."""
    for port in USUAL_HOLDERS:
        yield check_port(port, data)
    place = _existing_parent(data)
    yield check_free_space(shutil.disk_usage(place).free, data)
    yield _check_fsync(place)
    yield from check_keys(data, os.environ)
    yield check_clock(time.time())
    yield check_decoder()
    yield (
        Finding("engine", "ok", "vLLM is installed")
        if find_spec("vllm")
        else Finding("engine", "warn", "vLLM is not installed; serving uses the embedded engine", "make setup-vllm")
    )


HEADER_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""Where OpenTelemetry's exporters find the headers they send; the first one serves traces and logs."""

EARLIEST_CLOCK = 1_767_225_600.0
"""Start of 2026 in UTC: this release is younger, so a clock before it is wrong."""


def check_clock(now: float) -> Finding:
    """Tell whether the clock can be right: spans are filed by the day they are received."""
    shown = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    if now >= EARLIEST_CLOCK:
        return Finding("clock", "ok", f"the clock says {shown}")
    return Finding(
        "clock", "fail", f"the clock says {shown}, which is past", "Set it: timedatectl set-ntp true, or the host's."
    )


def check_decoder() -> Finding:
    """Tell whether the receiver has its compiled decoder."""
    package = find_spec("receiver")
    places = package.submodule_search_locations if package else None
    if any((Path(place) / "libspans.so").exists() for place in places or ()):
        return Finding("decoder", "ok", "spans are decoded in compiled code")
    return Finding(
        "decoder",
        "warn",
        "the receiver's decoder was not compiled: spans are decoded in Python, ten times slower",
        "Install a C compiler (apt-get install gcc) and install the project again.",
    )


def check_port(port: int, data: Path) -> Finding:
    """Tell whether one of our default ports is free, ours, or somebody else's."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if not taken:
        return Finding(f"port {port}", "ok", f"port {port} is free")
    if (data / "receiver.json").exists() or (data / "serve" / "server.json").exists():
        return Finding(f"port {port}", "ok", f"port {port} is in use, and {data} has a server running")
    return Finding(
        f"port {port}",
        "warn",
        f"port {port} is in use, by convention {USUAL_HOLDERS[port]}",
        "Let the Collector send us a copy (docs/exporter.md), or choose another port: --grpc, --http, --listen.",
    )


def check_free_space(free: int, data: Path) -> Finding:
    """Tell whether the receiver would take requests: it refuses them rather than use what landing needs."""
    shown = f"{free / 2**30:.1f} GiB free for {data}"
    if free >= MIN_FREE_BYTES:
        return Finding("free space", "ok", shown)
    return Finding(
        "free space",
        "fail",
        f"{shown}: the receiver refuses requests rather than use --reserve-mb (128) beside what waits to land",
        "Free some, name another directory with --data, or keep less: --retain-days, --retain-gb.",
    )


def check_keys(data: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether the exporters started here have the key that a receiver with keys demands."""
    num_keys = len(read_keys(data))
    if not num_keys:
        return
    if any(environment.get(name) for name in HEADER_VARIABLES):
        yield Finding("keys", "ok", f"{num_keys} API keys, and {HEADER_VARIABLES[0]} is set here")
        return
    yield Finding(
        "keys",
        "warn",
        f"{num_keys} API keys exist, so the receiver refuses whoever sends none; {HEADER_VARIABLES[0]} is not set here",
        f'export {HEADER_VARIABLES[0]}="authorization=Bearer sl_…" for the agents, spanloop serve run and spanloop demo'
        f" (a new key: spanloop receiver keys create --data {data} --name agents --scope ingest).",
    )


def _check_fsync(place: Path) -> Finding:
    with tempfile.TemporaryFile(dir=place) as file:
        durations = []
        for _ in range(5):
            file.write(b"\0" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            durations.append((time.perf_counter() - began) * 1e3)
    median_ms = sorted(durations)[2]
    slow = median_ms > SLOW_FSYNC_MS
    return Finding(
        "fdatasync",
        "warn" if slow else "ok",
        f"fdatasync takes {median_ms:.1f} ms (median of 5, 8 KiB)",
        "Every acknowledgement waits for one: use a faster disk for --data." if slow else None,
    )


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def check_traffic(data: Path) -> Iterator[Finding]:
    """Look at what arrived: whether the LLM calls carry messages, token ids and rewards."""
    if not (data / "spans").exists():
        yield Finding(
            "traces", "warn", f"no spans in {data} yet", "spanloop receiver run, then point an OTLP exporter at it."
        )
        return
    reader = connect(data)
    try:
        for check in (_check_traces, _check_clocks, _check_limits, _check_content, _check_token_ids, _check_rewards):
            yield from check(reader)
    finally:
        reader.close()


def _rows(reader: Reader, sql: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = reader.query(sql).to_pylist()
    return rows


def _check_traces(reader: Reader) -> Iterator[Finding]:
    row = _rows(
        reader,
        "select count(distinct trace_id) as traces, count(distinct service_name) as services from spans",
    )[0]
    yield Finding("traces", "ok", f"{row['traces']} traces from {row['services']} services")


def _check_clocks(reader: Reader) -> Iterator[Finding]:
    """Look for senders whose clock is ahead of ours: their spans end after they were received."""
    for row in _rows(
        reader,
        """
        select
            coalesce(service_name, '(no service.name)') as service,
            round(max(epoch(end_time) - epoch(received_time))) as ahead_s
        from spans
        where end_time > received_time + interval 1 minute
        group by all
        order by ahead_s desc
        limit 20
        """,
    ):
        yield Finding(
            "clock of agents",
            "warn",
            f"service {row['service']}: spans end up to {row['ahead_s']:.0f} s after they were received",
            "Set the clock of its host: timedatectl set-ntp true. Steps are ordered by the senders' clocks.",
        )


def _check_limits(reader: Reader) -> Iterator[Finding]:
    """Look for spans that an SDK cut: agents put more on a span than the default of 128 attributes."""
    for row in _rows(
        reader,
        """
        select
            coalesce(service_name, '(no service.name)') as service,
            count(*) filter (where dropped_attributes_count > 0) as cut_attributes,
            count(*) filter (where dropped_events_count > 0) as cut_events
        from spans
        where dropped_attributes_count > 0 or dropped_events_count > 0
        group by all
        order by cut_attributes + cut_events desc
        limit 20
        """,
    ):
        yield Finding(
            "limits",
            "warn",
            f"service {row['service']}: its SDK dropped attributes of {row['cut_attributes']} spans and events of"
            f" {row['cut_events']}",
            "Set OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=4096 and OTEL_SPAN_EVENT_COUNT_LIMIT=4096 on it.",
        )


LLM_CALLS = """
    select
        coalesce(service_name, '(no service.name)') as service,
        count(*) as calls,
        count(*) filter (where {carried}) as carrying
    from spans
    where json_extract_string(attributes, '$."openinference.span.kind"') = 'LLM'
        or json_extract_string(attributes, '$."gen_ai.operation.name"')
            in ('chat', 'text_completion', 'generate_content')
        or json_exists(attributes, '$."llm.request.type"')
    group by all
    having carrying < calls
    order by calls desc
    limit 20
"""
"""LLM calls of each service that lack something. Attribute names as of docs/dialects.md."""


def _check_content(reader: Reader) -> Iterator[Finding]:
    carried = (
        "attributes like '%\"gen_ai.input.messages\"%' or attributes like '%\"llm.input_messages.%'"
        " or attributes like '%\"gen_ai.prompt.%'"
    )
    for row in _rows(reader, LLM_CALLS.format(carried=carried)):
        yield Finding(
            "content",
            "warn",
            f"service {row['service']}: {_missing(row)} LLM calls carry no messages on their span",
            "Set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only and"
            " OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental on it (content in log events counts too).",
        )


def _check_token_ids(reader: Reader) -> Iterator[Finding]:
    carried = (
        "attributes like '%token_ids\"%'"
        f" or trace_id in (select trace_id from spans where scope_name = '{GATEWAY_SCOPE}')"
    )
    for row in _rows(reader, LLM_CALLS.format(carried=carried)):
        yield Finding(
            "token ids",
            "warn",
            f"service {row['service']}: {_missing(row)} LLM calls carry no token ids",
            "Point its OPENAI_BASE_URL at the gateway (spanloop serve run), which records them.",
        )


def _missing(row: dict[str, object]) -> str:
    return f"{int(str(row['calls'])) - int(str(row['carrying']))} of {row['calls']}"


def _check_rewards(reader: Reader) -> Iterator[Finding]:
    row = _rows(
        reader,
        "select (select count(*) from log_records where event_name = 'gen_ai.evaluation.result')"
        " + (select count(*) from spans where events like '%gen_ai.evaluation.result%') as rewards",
    )[0]
    if row["rewards"]:
        yield Finding("rewards", "ok", f"{row['rewards']} rewards")
    else:
        yield Finding(
            "rewards",
            "warn",
            "no rewards: nothing says which episodes went well",
            "Call otel_exporter.reward(value) where the outcome is known, or POST /v1/rewards.",
        )
