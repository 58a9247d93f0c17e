"""Looks at the machine: ports, disk, keys, clock, decoder."""

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from foundation.errors import SpanloopError
from foundation.web.keys import read_keys
from receiver.schema import find_all
from serve.schema import read_server
from spanloop.doctor.finding import Finding

MIN_FREE_BYTES = 1 << 30
SLOW_FSYNC_MS = 50.0

USUAL_HOLDERS = {4317: "an OpenTelemetry Collector", 4318: "an OpenTelemetry Collector", 8000: "a vLLM server"}
"""Who conventionally listens on the ports we use by default."""


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
    if any(next(Path(place).glob("**/libspans*.so"), None) for place in places or ()):
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
    if port in ports_of_ours(data):
        return Finding(f"port {port}", "ok", f"port {port} is in use, by a server on {data}")
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
    durations = []
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            for _ in range(5):
                file.write(b"\0" * 8192)
                file.flush()
                began = time.perf_counter()
                os.fdatasync(file.fileno())
                durations.append((time.perf_counter() - began) * 1e3)
    except OSError as error:
        return Finding(
            "writing",
            "fail",
            f"{place} cannot be written: {error.strerror}",
            "Mend its permissions or free space, run as the receiver's user, or name another directory with --data.",
        )
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


def ports_of_ours(data: Path) -> set[int]:
    """Return the ports that servers running on DATA say they listen on."""
    said: list[str] = []
    with contextlib.suppress(SpanloopError):
        said += [where[way] for where in find_all(data) if "pid" in where for way in ("grpc", "http")]
    with contextlib.suppress(SpanloopError):
        server = read_server(data)
        said += [server.url] if server else []
    ports = (urlsplit(address if "//" in address else f"//{address}").port for address in said)
    return {port for port in ports if port is not None}
