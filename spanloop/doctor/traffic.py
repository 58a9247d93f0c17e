"""Looks at what arrived: whether the LLM calls carry messages, token ids and rewards, and what the receiver refused."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from foundation.errors import SpanloopError
from foundation.web import places
from foundation.web.http import answers
from otel_exporter.schema import GATEWAY_SCOPE
from receiver.schema import Reader, connect, find_all
from spanloop.doctor.finding import Finding


def check_receiver(data: Path) -> Iterator[Finding]:
    """Look at whether each receiver takes requests, and at what the one here set aside."""
    for where in find_all(data):
        ready = answers(f"{where['http']}/readyz", timeout_s=5)
        yield (
            Finding(
                "receiver",
                "ok",
                f"the receiver at {' and '.join(filter(None, (where.get('grpc'), where['http'])))} takes requests",
            )
            if ready
            else Finding(
                "receiver",
                "fail",
                f"the receiver at {where['http']} takes no requests",
                f"Ask it why: curl {where['http']}/readyz; end it if it does not answer.",
            )
        )
    kept = data / "wal" / "quarantine"
    num_kept = sum(1 for _ in kept.iterdir()) if kept.is_dir() else 0
    if num_kept:
        yield Finding(
            "set aside",
            "warn",
            f"{num_kept} damaged segments or undecodable requests lie in {kept}",
            "spanloop receiver verify names them; remove them once nobody needs them.",
        )


def check_traffic(data: Path, since: datetime | None = None) -> Iterator[Finding]:
    """Look at what arrived, or arrived since: whether LLM calls carry messages, token ids, rewards; whole episodes."""
    if not ((data / "spans").exists() or places.receivers() or find_all(data)):
        yield Finding(
            "traces", "warn", f"no spans in {data} yet", "spanloop receiver run, then point an OTLP exporter at it."
        )
        return
    with closing(connect(data)) as opened:
        reader: Reader = opened if since is None else Since(opened, since)
        for check in CHECKS:
            yield from check(reader)


class Since:
    """A reader that sees what was received since an instant alone."""

    def __init__(self, reader: Reader, since: datetime) -> None:
        self._reader = reader
        instant = f"timestamptz '{since:%Y-%m-%d %H:%M:%S}+00'"
        recent = f"(select * from {{table}} where received_time >= {instant})"
        self._tables = {table: recent.format(table=table) for table in ("spans", "log_records")}

    def query(self, sql: str, parameters: list[Any] | None = None) -> Any:  # noqa: ANN401 - a pyarrow table
        """Run one SELECT over the recent rows."""
        for table, recent in self._tables.items():
            sql = re.sub(rf"\bfrom {table}\b", f"from {recent} as {table}", sql)
        return self._reader.query(sql, parameters)

    def stream(self, sql: str, parameters: list[Any] | None = None) -> Any:  # noqa: ANN401 - a pyarrow reader
        """Run one SELECT and return its rows as they come, over everything."""
        return self._reader.stream(sql, parameters)

    def close(self) -> None:
        """Let go of what it reads."""
        self._reader.close()


def _rows(reader: Reader, sql: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = reader.query(sql).to_pylist()
    return rows


def _check_traces(reader: Reader) -> Iterator[Finding]:
    row = _rows(
        reader,
        "select count(distinct trace_id) as traces, count(distinct service_name) as services from spans",
    )[0]
    yield Finding("traces", "ok", f"{row['traces']} traces from {row['services']} services")


FAILED_SHARE = 0.2
"""Part of a service's spans in error from which the doctor speaks of it."""


def _check_failed(reader: Reader) -> Iterator[Finding]:
    """Look for services whose work fails: their episodes teach little but what to avoid."""
    for row in _rows(
        reader,
        f"""
        select
            coalesce(service_name, '(no service.name)') as service,
            count(*) as spans,
            count(*) filter (where status_code = 'error') as failed
        from spans
        group by all
        having failed > {FAILED_SHARE} * spans
        order by failed desc
        limit 20
        """,
    ):
        yield Finding(
            "failed spans",
            "warn",
            f"service {row['service']}: {row['failed']} of {row['spans']} spans ended in error",
            "See why: spanloop sql \"select name, status_message, count(*) from spans where status_code = 'error'"
            ' group by all order by 3 desc"',
        )


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
        coalesce(scope_name, '') as scope,
        count(*) as calls,
        count(*) filter (where {carried}) as carrying
    from spans
    where coalesce(scope_name, '') <> '{gateway}' and (
        json_extract_string(attributes, '$."openinference.span.kind"') = 'LLM'
        or json_extract_string(attributes, '$."gen_ai.operation.name"')
            in ('chat', 'text_completion', 'generate_content')
        or json_exists(attributes, '$."llm.request.type"')
    )
    group by all
    having carrying < calls
    order by calls desc
    limit 20
"""
"""LLM calls of each service that lack something; the gateway's own spans, which carry what they are to, are no calls of
a service. Attribute names as of docs/dialects.md."""

CONTENT = (
    "gen_ai.input.messages", "gen_ai.output.messages", "llm.input_messages.", "gen_ai.prompt", "gen_ai.completion",
    "input.value", "gcp.vertex.agent.llm_request", "ai.prompt", "ai.response.text", "mlflow.spanInputs",
    "langfuse.observation.input", "traceloop.entity.input", "spanloop.request.body", "all_messages_events",
    "pydantic_ai.all_messages", "request_data",
)  # fmt: skip
"""Attributes, or how they begin, that hold what was said."""

GENAI = (
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only"
    " OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental"
)
"""OpenTelemetry's own variables."""

CAPTURE = (
    ("openinference.", "OPENINFERENCE_HIDE_INPUTS=false OPENINFERENCE_HIDE_OUTPUTS=false"),
    ("gcp.vertex.agent", f"ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS=true {GENAI}"),
    ("agent_framework", "ENABLE_INSTRUMENTATION=true ENABLE_SENSITIVE_DATA=true"),
    ("semantic_kernel", "SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE=true"),
    ("Microsoft.SemanticKernel", "SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE=true"),
    ("traceloop", "TRACELOOP_TRACE_CONTENT=true"),
    ("autogen", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true"),
    ("strands", "OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental"),
)
"""What has an instrumentation record content, by how the name of its scope begins; else OpenTelemetry's variables."""

TRACELOOP = {
    f"opentelemetry.instrumentation.{name}"
    for name in (
        "openai.v1",
        "openai",
        "anthropic",
        "langchain",
        "llamaindex",
        "crewai",
        "cohere",
        "bedrock",
        "mistralai",
    )
}
"""Scopes of Traceloop's instrumentations, which are named as if they were OpenTelemetry's own."""


def _check_content(reader: Reader) -> Iterator[Finding]:
    carried = " or ".join(
        [
            *(f"contains(attributes, '\"{name}')" for name in CONTENT),
            "contains(events, 'gen_ai.')",
            "span_id in (select span_id from log_records where span_id is not null)",
        ]
    )
    for row in _rows(reader, LLM_CALLS.format(carried=carried, gateway=GATEWAY_SCOPE)):
        scope = str(row["scope"])
        yield Finding(
            "content",
            "warn",
            f"service {row['service']}: {_missing(row)} LLM calls ({scope or 'no scope'}) carry no messages",
            f"Set on it: export {capture_variables(scope)}",
        )


def capture_variables(scope: str) -> str:
    """Return the variables that have an instrumentation record what is said."""
    if scope.removesuffix(".v1") in TRACELOOP or scope in TRACELOOP:
        return "TRACELOOP_TRACE_CONTENT=true"
    if scope in {"pydantic-ai", "pydantic_ai"}:
        return "nothing; in its code: InstrumentationSettings(include_content=True)"
    if scope == "ai":
        return (
            "nothing; in its code: experimental_telemetry: {isEnabled: true, recordInputs: true, recordOutputs: true}"
        )
    for begins, variables in CAPTURE:
        if scope.lower().startswith(begins.lower()):
            return variables
    return GENAI


def _check_sampling(reader: Reader) -> Iterator[Finding]:
    """Look for episodes with holes: spans whose parent never came, and tracestates that tell of a sampler."""
    for row in _rows(
        reader,
        """
        select
            coalesce(service_name, '(no service.name)') as service,
            count(distinct trace_id) as broken,
            count(*) filter (where contains(coalesce(trace_state, ''), 'th:')) as drawn
        from spans anti join (select trace_id, span_id as parent_span_id from spans) using (trace_id, parent_span_id)
        where parent_span_id is not null and received_time between now() - interval 1 day and now() - interval 1 minute
        group by all
        order by broken desc
        limit 20
        """,
    ):
        told = ", and its tracestate tells of a sampler" if row["drawn"] else ""
        yield Finding(
            "sampling",
            "warn",
            f"service {row['service']}: in {row['broken']} traces spans have a parent that never came{told}",
            "export OTEL_TRACES_SAMPLER=parentbased_always_on on it, copy to Spanloop before any tail sampling"
            " (deploy/collector), and have the service above it export here too.",
        )


def _check_agents(reader: Reader) -> Iterator[Finding]:
    """Look for calls of which nothing says which agent made them: roles cannot be trained apart."""
    try:
        row = _rows(
            reader, "select count(*) as calls, count(*) filter (where agent is null) as unknown from llm_calls"
        )[0]
    except SpanloopError:  # before the first run of the ETL
        return
    if row["unknown"]:
        yield Finding(
            "agent",
            "warn",
            f"{row['unknown']} of {row['calls']} LLM calls name no agent",
            "Set gen_ai.agent.name on the agent's span or on the root: otel_exporter.annotate(**{'gen_ai.agent.name':"
            " 'planner'}). With one agent nothing is lost.",
        )


def _check_token_ids(reader: Reader) -> Iterator[Finding]:
    carried = (
        "attributes like '%token_ids\"%'"
        f" or trace_id in (select trace_id from spans where scope_name = '{GATEWAY_SCOPE}')"
    )
    for row in _rows(reader, LLM_CALLS.format(carried=carried, gateway=GATEWAY_SCOPE)):
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


CHECKS = (
    _check_traces,
    _check_failed,
    _check_clocks,
    _check_limits,
    _check_content,
    _check_token_ids,
    _check_agents,
    _check_sampling,
    _check_rewards,
)
"""What is looked at, in this order."""
