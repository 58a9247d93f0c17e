"""Looks at what an agent started from here would do: OpenTelemetry's variables, and what the agent itself says."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from foundation.errors import SettingsError
from spanloop.doctor.finding import Finding


def check_surroundings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look for variables that keep spans, their content or whole episodes from being recorded."""

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    if value("OTEL_SDK_DISABLED").lower() == "true":
        yield Finding("sdk", "warn", "OTEL_SDK_DISABLED=true: no spans are made", "unset OTEL_SDK_DISABLED")
    exporter = value("OTEL_TRACES_EXPORTER")
    if exporter and not {"otlp", "spanloop", "otlp_proto_grpc", "otlp_proto_http"} & {
        one.strip() for one in exporter.split(",")
    }:
        yield Finding(
            "exporter",
            "warn",
            f"OTEL_TRACES_EXPORTER={exporter}: no spans are sent",
            "export OTEL_TRACES_EXPORTER=otlp",
        )
    sampler = value("OTEL_TRACES_SAMPLER")
    if sampler and not sampler.endswith("always_on"):
        yield Finding(
            "sampling",
            "warn",
            f"OTEL_TRACES_SAMPLER={sampler}: episodes that are sampled away, or partly, cannot be learned from",
            "export OTEL_TRACES_SAMPLER=parentbased_always_on, and sample behind the copy to Spanloop"
            " (deploy/collector).",
        )
    for name in ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"):
        if value(name):
            yield Finding("limits", "warn", f"{name}={value(name)}: longer messages are cut", f"unset {name}")
    if value("OTEL_CONFIG_FILE"):
        yield Finding(
            "config file",
            "warn",
            f"OTEL_CONFIG_FILE={value('OTEL_CONFIG_FILE')}: the SDK reads that file, and none of the other variables",
            "Add an otlp exporter to it, with the receiver's endpoint.",
        )
    protocol, endpoint = value("OTEL_EXPORTER_OTLP_PROTOCOL"), value("OTEL_EXPORTER_OTLP_ENDPOINT")
    for port, wrong, right in ((":4317", "http", "grpc"), (":4318", "grpc", "http/protobuf")):
        if endpoint.endswith(port) and protocol.startswith(wrong):
            yield Finding(
                "protocol",
                "warn",
                f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol} to {endpoint}: by convention that port speaks {right}",
                f"export OTEL_EXPORTER_OTLP_PROTOCOL={right}",
            )
    hidden = [
        name for name in ("OPENINFERENCE_HIDE_INPUTS", "OPENINFERENCE_HIDE_OUTPUTS") if value(name).lower() == "true"
    ]
    if value("TRACELOOP_TRACE_CONTENT").lower() == "false":
        hidden.append("TRACELOOP_TRACE_CONTENT")
    if hidden:
        yield Finding("hidden content", "warn", f"{', '.join(hidden)} hide what is said", f"unset {' '.join(hidden)}")


SAID = (
    (
        "Overriding of current TracerProvider is not allowed",
        "provider overridden",
        "two libraries set up a tracer provider, and the second one's spans go nowhere",
        "Let one set it up and add to it with otel_exporter.attach(), or start with opentelemetry-instrument alone.",
    ),
    (
        "UNAVAILABLE",
        "export",
        "its exporter reached nobody",
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://HOST:4317 to where the receiver runs",
    ),
    (
        "UNAUTHENTICATED|401 Unauthorized|403 Forbidden|PERMISSION_DENIED",
        "export",
        "its exporter was turned away",
        'export OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer sl_…"',
    ),
    (
        "Failed to export|Connection refused.{0,200}v1/traces|Max retries exceeded.{0,200}v1/traces",
        "export",
        "its exporter failed",
        "spanloop doctor --follow without the command says whether the receiver can be reached from here.",
    ),
    (
        "Queue is full, likely spans/logs will be dropped|queue is full",
        "dropped spans",
        "its span processor dropped spans",
        "export OTEL_BSP_MAX_QUEUE_SIZE=16384, or OTEL_TRACES_EXPORTER=otlp,spanloop, which never waits",
    ),
)
"""What an agent writes to stderr, what it means, and what mends it."""


def run_agent(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Run an agent to its end, its output passing through, and say what it complained of."""
    try:
        ended = subprocess.run(
            list(command), env=dict(environment), stderr=subprocess.PIPE, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise SettingsError(f"{command[0]} cannot be started: {error.strerror}") from None
    for pattern, check, message, remedy in SAID:
        if re.search(pattern, ended.stderr):
            yield Finding(check, "warn", f"the agent: {message}", remedy)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or [""]
        yield Finding(
            "agent",
            "warn",
            f"the agent ended with status {ended.returncode}: {last[0][:200]}",
            f"Run it: {command[0]} …",
        )
