"""What the spans of a trace come to: summed as they land, a row a trace and landing, so that lists read no spans.

A trace that is still going on has several rows. They are summed again where they are read, and on sealing a day.
"""

from receiver.tables import TRACE_PARTS

COLUMNS = ", ".join(column.name for column in TRACE_PARTS)

OF_SPANS = """
select
    project,
    trace_id,
    min_by(span_id, start_ns) filter (where parent_span_id is null) as root_span_id,
    min_by(name, start_ns) filter (where parent_span_id is null) as root_name,
    min_by(service_name, start_ns) filter (where parent_span_id is null) as root_service_name,
    min(start_ns) filter (where parent_span_id is null) as root_ns,
    min_by(end_ns, start_ns) filter (where parent_span_id is null) as root_end_ns,
    min_by(name, start_ns) as first_name,
    min_by(service_name, start_ns) as first_service_name,
    min(start_ns) as start_ns,
    max(end_ns) as end_ns,
    min(start_ns) filter (where status_code = 'error') as error_ns,
    count(*) as num_spans,
    count(*) filter (where status_code = 'error') as num_errors
from {spans}
group by project, trace_id
"""
"""Sums spans: of a whole table, or of what lands."""

OF_PARTS = """
select
    project,
    trace_id,
    min_by(root_span_id, root_ns) as root_span_id,
    min_by(root_name, root_ns) as root_name,
    min_by(root_service_name, root_ns) as root_service_name,
    min(root_ns) as root_ns,
    min_by(root_end_ns, root_ns) as root_end_ns,
    min_by(first_name, start_ns) as first_name,
    min_by(first_service_name, start_ns) as first_service_name,
    min(start_ns) as start_ns,
    max(end_ns) as end_ns,
    min(error_ns) as error_ns,
    sum(num_spans)::bigint as num_spans,
    sum(num_errors)::bigint as num_errors
from {parts}
group by project, trace_id
"""
"""Sums rows of `trace_parts` to one a trace."""

VIEW = f"""
select
    project,
    trace_id,
    root_span_id,
    coalesce(root_name, first_name) as root_name,
    coalesce(root_service_name, first_service_name) as service_name,
    make_timestamptz(start_ns // 1000) as start_time,
    make_timestamptz(end_ns // 1000) as end_time,
    (end_ns - start_ns) / 1e9 as duration_s,
    num_spans,
    num_errors
from ({OF_PARTS.format(parts="trace_parts")})
"""
"""The view `traces`."""

SPAN_COLUMNS = frozenset(
    {"project", "trace_id", "span_id", "parent_span_id", "name", "service_name", "start_ns", "end_ns", "status_code"}
)
"""Columns of `spans` that are summed."""
