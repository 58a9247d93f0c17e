"""What the receiver counts, in Prometheus' text format and, where it has one, under the Collector's name."""

from receiver.pipeline import Pipeline

COUNTERS = {
    "otelcol_receiver_accepted_spans": ("accepted_spans", "spans acknowledged"),
    "otelcol_receiver_accepted_log_records": ("accepted_log_records", "log records acknowledged"),
    "otelcol_receiver_refused_requests": ("refused_requests", "requests asked to come again, for want of room"),
    "spanloop_receiver_rejected_spans": ("rejected_spans", "spans that can never be stored: ids or times of no use"),
    "spanloop_receiver_undecodable_requests": ("undecodable", "requests that were not OTLP"),
    "spanloop_receiver_refused_rewards": ("refused_rewards", "evaluation events left out: the key has no scope reward"),
    "spanloop_receiver_repaired_fields": ("repaired_fields", "fields that could not be read and were replaced"),
    "spanloop_receiver_stored_spans": ("stored_spans", "spans stored, once each"),
    "spanloop_receiver_stored_log_records": ("stored_log_records", "log records stored"),
    "spanloop_receiver_duplicate_spans": ("duplicate_spans", "spans that were stored already"),
    "spanloop_receiver_duplicate_log_records": ("duplicate_log_records", "log records that were stored already"),
    "spanloop_receiver_conflicting_spans": ("conflicting_spans", "spans that came again with other content"),
    "spanloop_receiver_failed_landings": ("failed_landings", "landings that the disk refused and that are tried again"),
}


def exposition(pipeline: Pipeline) -> str:
    """Return every metric as text."""
    counts = pipeline.counts + pipeline.store.counts
    lines: list[str] = []
    for name, (key, description) in COUNTERS.items():
        lines += [f"# HELP {name}_total {description}", f"# TYPE {name}_total counter", f"{name}_total {counts[key]}"]
    gauges = {
        "spanloop_receiver_backlog_bytes": (pipeline.backlog_bytes, "bytes taken and not yet landed"),
        "spanloop_receiver_lost_ranges": (len(pipeline.losses), "damaged ranges found in the log at the last start"),
    }
    for name, (value, description) in gauges.items():
        lines += [f"# HELP {name} {description}", f"# TYPE {name} gauge", f"{name} {value}"]
    return "\n".join(lines) + "\n"
