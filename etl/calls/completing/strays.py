"""Log records of messages that name the span around their model call, and not the call's own.

Traceloop makes its span without making it the current one, so what it logs while the call runs goes to the span around.
"""

from collections import defaultdict
from collections.abc import Iterable

from etl.dialects.shapes.message_events import MESSAGE_EVENTS
from etl.dialects.spans import Span


def adopt_strays(spans: Iterable[Span]) -> None:
    """Move records to the one child of their span that is of their scope and lasted when they were written, in place.

    Where there are several such children, nothing tells whose they are, and they stay.
    """
    spans = list(spans)
    around = [span for span in spans if any(_is_stray(span, record.event_name, record.scope) for record in span.logs)]
    if not around:
        return
    wanted = {(span.project, span.trace_id, span.span_id) for span in around}
    children: dict[tuple[str, str, str], list[Span]] = defaultdict(list)
    for span in spans:
        key = (span.project, span.trace_id, span.parent_span_id or "")
        if key in wanted:
            children[key].append(span)
    for span in around:
        kept = []
        for record in span.logs:
            lasting = [
                child
                for child in children[span.project, span.trace_id, span.span_id]
                if child.scope == record.scope and child.start_ns <= record.time_ns <= child.end_ns
            ]
            if len(lasting) == 1 and _is_stray(span, record.event_name, record.scope):
                lasting[0].logs = [*lasting[0].logs, record]
            else:
                kept.append(record)
        span.logs = kept


def _is_stray(span: Span, event_name: str, scope: str) -> bool:
    return event_name in MESSAGE_EVENTS and scope not in {"", span.scope}
