"""Which queries are run by the receiver itself."""

import duckdb
import pytest

from receiver.intake.queries import is_list
from receiver.query import guard


@pytest.mark.parametrize(
    ("sql", "is_here"),
    [
        ("select trace_id from trace_parts where root_ns > 5 order by root_ns desc limit 50", True),
        ("select trace_id, sum(num_spans) from trace_parts where trace_id in ('a') group by all limit 60", True),
        ("select trace_id from trace_parts", False),
        ("select trace_id from trace_parts limit 100000", False),
        ("select repeat(trace_id, 1000) from trace_parts limit 10", False),
        ("select a.trace_id from trace_parts a, trace_parts b limit 10", False),
        ("select trace_id from traces limit 10", False),
        ("select trace_id from spans limit 10", False),
        ("select 1 limit 1", False),
    ],
)
def test_only_short_lists_of_traces_are_run_by_the_receiver_itself(sql: str, *, is_here: bool) -> None:
    """Everything else has a process, which can be ended."""
    assert is_list(guard.needs(duckdb.connect(), sql)) is is_here
