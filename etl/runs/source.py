"""Asks the receiver for whole traces: those a window of receipt touched, and those named."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from etl.episodes.grouping import SESSIONS, Trace
from etl.published.window import Window
from etl.rewards import stand_ins
from otel_exporter.schema import EPISODE_ID, EVALUATION_EVENT, EVALUATION_NAME, GATEWAY_SCOPE
from receiver.schema import TABLES, Reader

EVERYTHING = 2**62
"""Past any request number."""


def find_window(reader: Reader, *, after_seq: int, since: datetime | None, until: datetime | None) -> Window | None:
    """Return the window of what was received in [since, until), or after a request; None when that is nothing."""
    clauses, parameters = ["true"], []
    if since is not None:
        clauses.append("received_time >= ?::timestamptz")
        parameters.append(_utc(since).isoformat())
    else:
        clauses.append("received_seq > ?::bigint")
        parameters.append(str(after_seq))
    if until is not None:
        clauses.append("received_time < ?::timestamptz")
        parameters.append(_utc(until).isoformat())
    where = " and ".join(clauses)
    table = reader.query(
        f"""
        select min(received_seq) as first, max(received_seq) as last
        from (
            select received_seq from spans where {where}
            union all
            select received_seq from log_records where {where}
        )
        """,
        [*parameters, *parameters],
    )
    row = table.to_pylist()[0]
    if row["first"] is None:
        return None
    return Window(row["first"] if since is not None else after_seq + 1, row["last"])


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def touched_traces(reader: Reader, window: Window) -> set[Trace]:
    """Return the traces, or stand-ins of one, of which a span or a log record came in a window."""
    table = reader.query(
        f"""
        select project, trace_id
        from spans
        where received_seq between ?::bigint and ?::bigint
        union
        select project, {stand_ins.TRACE_ID} as trace_id
        from log_records
        where received_seq between ?::bigint and ?::bigint
            and (event_name like 'gen_ai.%' or regexp_matches(concat(body, attributes), '{MESSAGES}'))
            and (trace_id is not null or event_name = '{EVALUATION_EVENT}')
        """,
        [str(window.since_seq), str(window.until_seq)] * 2,
    )
    return set(zip(table["project"].to_pylist(), table["trace_id"].to_pylist(), strict=True))


MESSAGES = '"(role|messages|choices|tool_calls)'
"""What a log record of an unknown writer holds that carries messages (`etl.calls.find`)."""

LINKS = (EPISODE_ID, *SESSIONS)
"""Attributes by which traces may be one episode, or one session."""

RESOURCE_LINKS = ("spanloop.episode.id", "agentlightning.rollout_id")

RESPONSE_ID = "(?:chatcmpl|cmpl|resp|msg)[-_][A-Za-z0-9_-]{4,}"


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What is known of a trace before it is read."""

    trace: Trace
    num_spans: int
    num_bytes: int
    """Of the text of its spans and log records."""

    first_seq: int
    last_seq: int
    start_ns: int
    end_ns: int
    is_gateway: bool
    """It holds the gateway's spans alone."""

    links: tuple[str, ...] = ()
    """Ids it may share with other traces."""


def trace_facts(reader: Reader, traces: Collection[Trace]) -> list[TraceFacts]:
    """Return the size of each trace that has spans, ordered by receipt, without links; then the stand-ins."""
    rows = reader.query(
        f"""
        select project, trace_id, count(*), sum(strlen(attributes) + strlen(events))::bigint,
            min(received_seq), max(received_seq), coalesce(min(start_ns), 0), coalesce(max(end_ns), 0),
            bool_and(coalesce(scope_name, '') = '{GATEWAY_SCOPE}')
        from spans
        semi join {WANTED}
        using (project, trace_id)
        group by project, trace_id
        order by min(received_seq), project, trace_id
        """,
        list(_parameters(traces)),
    )
    columns = [column.to_pylist() for column in rows.columns]
    told = _bytes_of_logs(reader, traces)
    found = [
        TraceFacts((project, trace_id), num_spans, num_bytes + told.get((project, trace_id), 0), *rest)
        for project, trace_id, num_spans, num_bytes, *rest in zip(*columns, strict=True)
    ]
    return found + [_stand_in_facts(trace) for trace in sorted(traces) if stand_ins.is_stand_in(trace)]


def _bytes_of_logs(reader: Reader, traces: Collection[Trace]) -> dict[Trace, int]:
    rows = reader.query(
        f"""
        select project, trace_id, sum(coalesce(strlen(body), 0) + strlen(attributes))::bigint as num_bytes
        from log_records
        semi join {WANTED}
        using (project, trace_id)
        group by project, trace_id
        """,
        list(_parameters(traces)),
    )
    keys = zip(rows["project"].to_pylist(), rows["trace_id"].to_pylist(), strict=True)
    return dict(zip(keys, rows["num_bytes"].to_pylist(), strict=True))


def _stand_in_facts(trace: Trace) -> TraceFacts:
    """Return the facts of a trace without spans, which widen no group it is put into."""
    links = tuple(filter(None, [stand_ins.named_id(trace)]))
    return TraceFacts(trace, 0, 0, EVERYTHING, 0, EVERYTHING, 0, is_gateway=False, links=links)


def with_links(reader: Reader, facts: Sequence[TraceFacts]) -> list[TraceFacts]:
    """Return the traces with the ids that they may share with others."""
    traces = [fact.trace for fact in facts]
    paths = ", ".join(f"""'$."{name}"'""" for name in LINKS)
    resource_paths = ", ".join(f"""'$."{name}"'""" for name in RESOURCE_LINKS)
    kinds = [
        f"select project, trace_id, unnest(json_extract_string(attributes, [{paths}])) as link from spans",
        f"select project, trace_id, unnest(json_extract_string(attributes, [{paths}])) as link from log_records",
        f"select project, trace_id, unnest(json_extract_string(resource, [{resource_paths}])) as link from spans",
    ]
    found: dict[Trace, set[str]] = defaultdict(set)
    judging = _collect_links(reader, JUDGING, traces, found)
    judging |= _collect_links(reader, CONTINUING, traces, found)
    if judging or any(fact.is_gateway or stand_ins.is_stand_in(fact.trace) for fact in facts):
        kinds += [
            f"select project, trace_id, unnest(regexp_extract_all(attributes, '{RESPONSE_ID}')) as link from spans",
            f"select project, trace_id, json_extract_string(attributes, '{ANSWER}') as link from spans",
        ]
    _collect_links(reader, kinds, traces, found)
    return [replace(fact, links=tuple(sorted({*fact.links, *found.get(fact.trace, ())}))) for fact in facts]


QUOTES = r"""[\\"]+"""
"""Around what is text in JSON, which may itself be text in JSON."""

CONTINUING = tuple(
    f"""
    select project, trace_id, unnest(regexp_extract_all(attributes, '{pattern}', 1)) as link
    from spans
    where regexp_matches(attributes, '{pattern}')
    """
    for pattern in (
        rf"(?i)previous_?(?:response|interaction)[_.]?id{QUOTES}\s*:\s*{QUOTES}([^{QUOTES[1:-2]}]+)",
        rf"conversation(?:{QUOTES}\s*:\s*\{{\s*{QUOTES}id)?{QUOTES}\s*:\s*{QUOTES}(conv_[0-9A-Za-z_-]+)",
    )
)
"""SQL: the response or conversation that a request continues, of which the provider holds the history."""

ANSWER = '$."gen_ai.response.id"'

JUDGING = (
    f"""
    select project, trace_id, json_extract_string(attributes, '{ANSWER}') as link
    from log_records
    where event_name = '{EVALUATION_EVENT}'
    """,
    f"""
    select project, trace_id, json_extract_string(attributes, '{ANSWER}') as link
    from spans
    where contains(attributes, '{EVALUATION_NAME}')
    """,
    f"""
    select project, trace_id, unnest(json_extract_string(links, '$[*].trace_id')) as link
    from spans
    where links != '[]'
        and (
            contains(events, '{EVALUATION_EVENT}')
            or regexp_matches(attributes, 'gen_ai.evaluation.|annotations.|evaluations.|EVALUATOR|evaluator|"evaluat')
        )
    """,
)
"""SQL: what rewards judge that are given in other traces: answers, and traces themselves."""


def _collect_links(
    reader: Reader, kinds: Iterable[str], traces: Collection[Trace], found: dict[Trace, set[str]]
) -> bool:
    """Add the links that queries find of traces, in place; tell whether there are any."""
    is_any = False
    for kind in kinds:
        rows = reader.query(
            f"""
            select distinct project, trace_id, link
            from ({kind})
            semi join {WANTED}
            using (project, trace_id)
            where link is not null and link != ''
            """,
            list(_parameters(traces)),
        )
        for project, trace_id, link in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            found[project, trace_id].add(link)
            is_any = True
    return is_any


WANTED = "(select unnest(?::varchar[]) as project, unnest(?::varchar[]) as trace_id) wanted"


def _parameters(traces: Collection[Trace]) -> tuple[list[str], list[str]]:
    ordered = sorted(traces)
    return [project for project, _ in ordered], [trace_id for _, trace_id in ordered]


def read_traces(
    reader: Reader, traces: Collection[Trace], received: tuple[int, int] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return every span and every log record of these traces, whenever they came; of stand-ins the rewards.

    `received`: the first and the last request that hold their spans, where that is known: only those are looked at.
    """
    parameters = list(_parameters(traces))
    log_records = f"(select * replace ({stand_ins.TRACE_ID} as trace_id) from log_records)"
    return (
        _frame(reader, "spans", "spans", parameters, received),
        _frame(reader, "log_records", log_records, parameters, None),
    )


def _frame(
    reader: Reader, table: str, rows_of: str, parameters: list[list[str]], received: tuple[int, int] | None
) -> pl.DataFrame:
    columns = ", ".join(f"source.{column.name}" for column in TABLES[table])
    where = "" if received is None else f"where source.received_seq between {received[0]:d} and {received[1]:d}"
    rows = reader.query(
        f"""
        select {columns}
        from {rows_of} source
        semi join {WANTED}
        using (project, trace_id)
        {where}
        """,
        list(parameters),
    )
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame
