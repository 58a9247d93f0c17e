"""Follows one span from here to where SQL shows it, as an agent's exporter would send it, and says where it is lost."""

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from foundation.errors import SpanloopError
from foundation.web import places
from foundation.web.http import open_url
from receiver.schema import connect, find_all
from spanloop.doctor.finding import Finding

NAME = "spanloop doctor"
"""Name of the span. It is no call, so nothing is learned from it."""

SKEW_S = 5.0
"""Seconds by which two clocks may differ before the order of an episode's steps is in doubt."""

ENDPOINTS = ("SPANLOOP_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADERS = ("SPANLOOP_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")


def follow(data: Path, endpoint: str | None, environment: Mapping[str, str], *, timeout_s: float) -> Iterator[Finding]:
    """Send a span to where this environment's exporters send theirs, else to each receiver, and look for it."""
    told = endpoint or next((environment[name] for name in ENDPOINTS if environment.get(name)), None)
    urls = [told] if told else [where["http"] for where in find_all(data)] or ["http://localhost:4318"]
    for named in urls:
        url = named.rstrip("/").removesuffix("/v1/traces")
        yield from _follow(data, url if "://" in url else f"http://{url}", environment, timeout_s=timeout_s)


def _follow(data: Path, url: str, environment: Mapping[str, str], *, timeout_s: float) -> Iterator[Finding]:
    trace_id = secrets.token_hex(16)
    sent_ns = time.time_ns()
    refused = _send(url, _headers(environment), trace_id, sent_ns, data)
    if refused is not None:
        yield refused
        return
    yield Finding("one span", "ok", f"{url} took a span")
    try:
        yield from _look_for(data, url, trace_id, sent_ns, timeout_s)
    except SpanloopError as error:
        yield Finding("arrival", "warn", f"whether it arrived cannot be seen from here: {error.message}", error.hint)


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    text = next((environment[name] for name in HEADERS if environment.get(name)), "")
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def _send(url: str, headers: dict[str, str], trace_id: str, sent_ns: int, data: Path) -> Finding | None:
    """Send the span; return what was wrong."""
    parts = urlsplit(url)
    if parts.port == 4317:
        return _send_by_grpc(url, headers, trace_id, sent_ns, data)
    record = {
        "traceId": trace_id,
        "spanId": trace_id[:16],
        "name": NAME,
        "kind": 1,
        "startTimeUnixNano": str(sent_ns),
        "endTimeUnixNano": str(sent_ns),
    }
    service = {"key": "service.name", "value": {"stringValue": NAME}}
    scope = {"scope": {"name": "spanloop.doctor"}, "spans": [record]}
    body = {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [scope]}]}
    request = urllib.request.Request(  # noqa: S310 - http and https, checked by open_url's opener
        f"{url}/v1/traces", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with open_url(request, timeout_s=5) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        return _refusal(url, error.code, data)
    except (OSError, ValueError) as error:
        return _unreachable(url, str(getattr(error, "reason", None) or error), data)
    return _partly(url, content)


def _send_by_grpc(url: str, headers: dict[str, str], trace_id: str, sent_ns: int, data: Path) -> Finding | None:
    import grpc
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = NAME
    scope = resource.scope_spans.add()
    scope.scope.name = "spanloop.doctor"
    ids = {"trace_id": bytes.fromhex(trace_id), "span_id": bytes.fromhex(trace_id[:16])}
    scope.spans.add(name=NAME, kind=1, start_time_unix_nano=sent_ns, end_time_unix_nano=sent_ns, **ids)
    target = urlsplit(url).netloc
    secure = url.startswith("https://")
    options = [("grpc.enable_http_proxy", 0)]
    channel = (
        grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        if secure
        else grpc.insecure_channel(target, options)
    )
    with closing(channel):
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        try:
            export(request.SerializeToString(), timeout=5, metadata=list(headers.items()))
        except grpc.RpcError as error:
            code = error.code()
            if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
                return _refusal(url, 401 if code is grpc.StatusCode.UNAUTHENTICATED else 403, data)
            return _unreachable(url, code.name, data)
    return None


def _refusal(url: str, status: int, data: Path) -> Finding:
    if status in {401, 403}:
        what = "asks for a key" if status == 401 else "does not let this key send spans"
        return Finding(
            "one span",
            "fail",
            f"{url} {what} ({status})",
            f"spanloop receiver keys create --data {data} --name agents --scope ingest, then"
            f' export {HEADERS[-1]}="authorization=Bearer sl_…" where the agents start.',
        )
    if status in {429, 503}:
        return Finding("one span", "fail", f"{url} takes no spans now ({status})", f"Ask it why: curl {url}/readyz")
    return Finding(
        "one span",
        "fail",
        f"{url} answered {status}: this is no OTLP receiver over HTTP",
        "Name the receiver's address, http://HOST:4318 (HTTP) or http://HOST:4317 (gRPC): --endpoint, or export"
        f" {ENDPOINTS[-1]}=…",
    )


def _unreachable(url: str, reason: str, data: Path) -> Finding:
    return Finding(
        "one span",
        "fail",
        f"nobody answers at {url}: {reason}",
        f"spanloop receiver run --data {data}, or export {ENDPOINTS[-1]}=http://HOST:4318 to where it runs.",
    )


def _partly(url: str, content: bytes) -> Finding | None:
    try:
        said = json.loads(content or b"{}").get("partialSuccess") or {}
    except (ValueError, AttributeError):
        return _refusal(url, 200, Path())
    if not int(said.get("rejectedSpans") or 0):
        return None
    return Finding("one span", "fail", f"{url} rejected the span: {said.get('errorMessage')}", f"curl {url}/metrics")


def _look_for(data: Path, url: str, trace_id: str, sent_ns: int, timeout_s: float) -> Iterator[Finding]:
    deadline = time.monotonic() + timeout_s
    while not (rows := _rows(data, trace_id)):
        if time.monotonic() > deadline:
            yield Finding(
                "arrival",
                "fail",
                f"{url} took the span, and {data} does not have it after {timeout_s:g} s",
                f"Is {url} the receiver that writes {data}? spanloop receiver status --data {data}; between them may be"
                " a Collector whose pipeline has no exporter to it (deploy/collector).",
            )
            return
        time.sleep(0.1)
    yield Finding("arrival", "ok", f"SQL shows it, project {rows[0]['project']}")
    skew_s = (rows[0]["received_ns"] - sent_ns) / 1e9
    if not -1 <= skew_s <= SKEW_S + timeout_s:
        yield Finding(
            "clock skew",
            "warn",
            f"the receiver's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's",
            "timedatectl set-ntp true, on both: steps are ordered by the senders' clocks.",
        )


def _rows(data: Path, trace_id: str) -> list[dict[str, Any]]:
    if not ((data / "spans").exists() or places.receivers() or find_all(data)):
        return []
    with closing(connect(data)) as reader:
        rows: list[dict[str, Any]] = reader.query(
            "select project, epoch_ns(received_time) as received_ns from spans where trace_id = ?", [trace_id]
        ).to_pylist()
    return rows
