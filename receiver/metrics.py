"""What the receiver counts, in Prometheus' text format and, where it has one, under the Collector's name.

The Collector's names, labels and meanings: opentelemetry.io/docs/collector/internal-telemetry. Landing is the exporter
`duckdb`: its queue is what was taken and has not reached a day file, counted in bytes.
"""

import os
import time
from pathlib import Path

from receiver.pipeline import Pipeline

TRANSPORTS = ("grpc", "http")

BY_TRANSPORT = {
    "otelcol_receiver_accepted_spans": ("accepted_spans", "spans acknowledged: they are on disk"),
    "otelcol_receiver_refused_spans": ("refused_spans", "spans asked to come again, for want of room"),
    "otelcol_receiver_failed_spans": ("failed_spans", "spans asked to come again, because the disk gave an error"),
    "otelcol_receiver_accepted_log_records": ("accepted_log_records", "log records acknowledged: they are on disk"),
    "otelcol_receiver_refused_log_records": (
        "refused_log_records",
        "log records asked to come again, for want of room",
    ),
    "otelcol_receiver_failed_log_records": (
        "failed_log_records",
        "log records asked to come again, because the disk gave an error",
    ),
}

COUNTERS = {
    "otelcol_exporter_sent_spans": ("stored_spans", "spans stored, once each"),
    "otelcol_exporter_sent_log_records": ("stored_log_records", "log records stored"),
    "spanloop_receiver_refused_requests": ("refused_requests", "requests asked to come again, for want of room"),
    "spanloop_receiver_rejected_spans": ("rejected_spans", "spans that can never be stored: ids or times of no use"),
    "spanloop_receiver_undecodable_requests": ("undecodable", "requests that were not OTLP"),
    "spanloop_receiver_quarantined_requests": (
        "undecodable_requests",
        "requests that were acknowledged, could not be decoded and are kept aside in wal/quarantine",
    ),
    "spanloop_receiver_refused_rewards": ("refused_rewards", "evaluation events left out: the key has no scope reward"),
    "spanloop_receiver_repaired_fields": ("repaired_fields", "fields that could not be read and were replaced"),
    "spanloop_receiver_redacted_values": ("redacted_values", "values in which secrets or personal data were replaced"),
    "spanloop_receiver_duplicate_spans": ("duplicate_spans", "spans that were stored already"),
    "spanloop_receiver_duplicate_log_records": ("duplicate_log_records", "log records that were stored already"),
    "spanloop_receiver_conflicting_spans": ("conflicting_spans", "spans that came again with other content"),
    "spanloop_receiver_failed_landings": ("failed_landings", "landings that the disk refused and that are tried again"),
}

GAUGES = {
    "otelcol_exporter_queue_size": "bytes taken and not yet landed",
    "otelcol_exporter_queue_capacity": "most bytes that may wait to land",
    "otelcol_process_memory_rss_bytes": "resident memory",
    "otelcol_process_uptime_seconds": "time since the process started",
    "spanloop_receiver_backlog_bytes": "bytes taken and not yet landed",
    "spanloop_receiver_oldest_unlanded_seconds": "age of the oldest request not in its day file yet; 0 when none waits",
    "spanloop_receiver_free_bytes": "free space of the disk",
    "spanloop_receiver_reserve_bytes": "space kept for landing; requests are refused rather than use it",
    "spanloop_receiver_lost_ranges": "damaged ranges found in the log at the last start",
}

CPU_SECONDS = ("otelcol_process_cpu_seconds_total", "CPU time used, seconds")


def descriptions() -> dict[str, str]:
    """Return what every metric means, by the name it is scraped under."""
    counters = {f"{name}_total": meaning for name, (_, meaning) in {**BY_TRANSPORT, **COUNTERS}.items()}
    return {**counters, CPU_SECONDS[0]: CPU_SECONDS[1], **GAUGES}


def exposition(pipeline: Pipeline) -> str:
    """Return every metric as text."""
    lines: list[str] = []
    described = descriptions()
    for name, values in _values(pipeline).items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {described[name]}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{labels} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _values(pipeline: Pipeline) -> dict[str, dict[str, float]]:
    counts = pipeline.counts + pipeline.store.counts
    cpu_s, resident_bytes, uptime_s = _process()
    by_transport: dict[str, dict[str, float]] = {
        f"{name}_total": {
            f'{{receiver="otlp",transport="{transport}"}}': counts[f"{key} {transport}"] for transport in TRANSPORTS
        }
        for name, (key, _) in BY_TRANSPORT.items()
    }
    counters: dict[str, dict[str, float]] = {
        f"{name}_total": {_labels(name): counts[key]} for name, (key, _) in COUNTERS.items()
    }
    gauges = {
        "otelcol_exporter_queue_size": pipeline.backlog_bytes,
        "otelcol_exporter_queue_capacity": pipeline.max_backlog_bytes,
        "otelcol_process_memory_rss_bytes": resident_bytes,
        "otelcol_process_uptime_seconds": round(uptime_s),
        "spanloop_receiver_backlog_bytes": pipeline.backlog_bytes,
        "spanloop_receiver_oldest_unlanded_seconds": round(pipeline.oldest_unlanded_s, 1),
        "spanloop_receiver_free_bytes": pipeline.free_bytes,
        "spanloop_receiver_reserve_bytes": pipeline.reserve_bytes,
        "spanloop_receiver_lost_ranges": len(pipeline.losses),
    }
    process = {CPU_SECONDS[0]: {"": round(cpu_s, 2)}}
    return {**by_transport, **counters, **process, **{name: {_labels(name): gauges[name]} for name in GAUGES}}


def _labels(name: str) -> str:
    return '{exporter="duckdb"}' if name.startswith("otelcol_exporter") else ""


def _process() -> tuple[float, int, float]:
    """Return CPU seconds, resident bytes and age in seconds of this process (proc(5))."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    resident_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.process_time(), resident_bytes, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
