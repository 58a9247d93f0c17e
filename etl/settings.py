"""Settings of the ETL's commands."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field

from foundation.settings import DEFAULT_DATA, Settings
from otel_exporter.schema import OUTCOME


class DialectEntry(Settings):
    """A producer's spans: how they are known, and where each fact of a call, a tool or an agent stands in them."""

    name: str
    """What `llm_calls.dialect` says of its calls."""

    scope: str = ""
    """Beginning of the names of its instrumentation scopes."""

    attribute: str | None = None
    """An attribute that its spans have."""

    kind: str | None = None
    """The attribute that says what a span is. Default: every span with an `input` or `output` is a model call."""

    calls: list[str] = Field(default_factory=list)
    """Values of `kind` with which a span is a model call."""

    tools: list[str] = Field(default_factory=list)
    """Values of `kind` with which a span is a tool's execution."""

    agents: list[str] = Field(default_factory=list)
    """Values of `kind` with which a span is an agent."""

    places: dict[str, list[str]] = Field(default_factory=dict)
    """By field, the places it may stand at, of which the first that is there counts: an attribute's name; `name#a.b`
    for a path in the JSON that it holds; `event:NAME/attribute` for an event's."""


class EtlConfig(Settings):
    """Settings of one ETL run."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    since: datetime | None = None
    """Process spans received at this instant or later, UTC. Default: from the watermark on."""

    until: datetime | None = None
    """Process spans received before this instant, UTC. Default: everything there is."""

    complete_after: float = Field(default=900.0, ge=0)
    """Seconds without a new span after which a trace is taken as it is, complete or not; 0 takes all at once."""

    outcome: str = OUTCOME
    """Name of the reward that says how what it was given to ended: an episode, an agent's run, a session. Where no
    reward of an episode has it, the only name that was given to the episode as a whole counts."""

    reward_sql: Path | None = None
    """Directory of `*.sql` files, each a query over `spans` and `log_records` that returns trace_id, name, value and,
    if it likes, project, span_id, label, explanation and time_ns: rewards of source `sql:<file>`."""

    reward_sources: dict[str, list[str]] = Field(default_factory=dict)
    """Sources whose rewards count, by project: span_event, log_record, span_attribute, agentlightning, sql:<file>. A
    project that is not named takes them all."""

    exclude_agents: list[str] = Field(default_factory=list)
    """Names, or patterns of names (`judge*`), of agents and spans whose model calls are nobody's action: judges,
    guards, titles of chats. They stay in `llm_calls`."""

    tool_error: float = Field(default=-0.1, ge=-1, le=0)
    """Reward of an action for each of its tool calls that ended in an error."""

    argument_schema: float = Field(default=0.0, ge=0, le=1)
    """Weight of the share of an action's tool calls that do not fit the tools it was given. As for all weights below,
    0 leaves the signal out of the reward; it is measured all the same, and `spanloop etl stats` tells what it says."""

    output_format: float = Field(default=0.0, ge=0, le=1)
    """Weight of an answer that is not the JSON it was asked to be."""

    repetition: float = Field(default=0.0, ge=0, le=1)
    """Weight of the share of an action's tool calls that its agent had already made alike."""

    retry: float = Field(default=0.0, ge=0, le=1)
    """Weight of an answer after which the agent asked the very same again."""

    waste: float = Field(default=0.0, ge=0, le=1)
    """Weight of an answer that nothing later in the episode used."""

    user_reply: float = Field(default=0.0, ge=0, le=1)
    """Weight of what the user said next: for an answer that is thanked for, against one that is corrected, or whose
    question is asked again."""

    reply_judge: str | None = None
    """Address of an OpenAI-compatible server, `http://host:8000/v1`, whose model is asked what a reply means where the
    rules do not know. Its key is in SPANLOOP_REPLY_JUDGE_API_KEY. Default: rules alone."""

    reply_judge_model: str = "default"
    """Name of the model to ask there."""

    latency: float = Field(default=0.0, ge=0, le=1)
    """Weight of a call's time over `latency_budget_s`: 1 at twice the budget. It measures servers and their load at
    least as much as the policy: where long answers are what is slow, `tokens` is the signal."""

    latency_budget_s: float | None = Field(default=None, gt=0)
    """Seconds a model call may take. Default: not measured."""

    tokens: float = Field(default=0.0, ge=0, le=1)
    """Weight of an answer's tokens over `token_budget`: 1 at twice the budget."""

    token_budget: int | None = Field(default=None, gt=0)
    """Tokens an answer may have. Default: not measured."""

    progress: float = Field(default=0.0, ge=0, le=1)
    """Weight of the change in the estimated outcome, as a difference of potentials."""

    outcome_gap: float | None = Field(default=None, gt=0)
    """Smallest difference between two outcomes that must never be bridged: intermediate rewards of an episode are
    scaled to stay below half of it, so they cannot make a failure look better than a success. Default: the smallest
    difference there is in the run, from 0.01 to 1."""

    discount: float = Field(default=1.0, gt=0, le=1)
    """Factor per step between a reward and the return of an earlier step. The outcome is not discounted: it is what the
    episode came to."""

    holdout: float = Field(default=0.1, ge=0, lt=1)
    """Share of tasks kept out of training, by hash of what `holdout_by` says."""

    holdout_by: Literal["task", "user"] = "task"
    """What is wholly on one side. A task without an id of its own is taken by its words, so that tasks that differ only
    in case, spacing or punctuation are on one side; an episode without a user is taken by its task."""

    holdout_from: datetime | None = None
    """Episodes that began at this instant or later are kept out of training, all of them: a test of the future. UTC."""

    bucket_spans: int = Field(default=25_000, ge=1)
    """Spans a process has in memory at once, as far as traces that share an episode or a call allow: fewer where their
    text is more than 8 KiB a span. 25,000 agent-like ones take about half a gigabyte."""

    workers: int | None = Field(default=None, ge=1)
    """Processes that transform buckets at the same time. Default: as many as there are cores, memory and work for."""

    bucket: str | None = Field(default=None, pattern=r"^\d+/[1-9]\d*$")
    """Share i of n of the buckets, `0/4` to `3/4`, for a scheduler that starts n processes: this one transforms its
    share, and `spanloop etl publish` publishes them all once every share is done."""

    ray: str | None = None
    """Have buckets transformed by Ray: the address of a cluster that shares the data directory, `auto` for the one this
    machine is part of, `local` to start one here. Needs spanloop[ray]."""

    tokenizer: Path | None = None
    """Checkpoint's directory, or its `tokenizer.json`: the token ids of answers are decoded and compared with the text,
    and calls where they differ are rejected. Default: not compared."""

    dialects: Annotated[list[DialectEntry], Parameter(parse=False)] = Field(default_factory=list)
    """Producers of your own: the entries `[[etl.dialects]]` of spanloop.toml (docs/dialects.md)."""

    other_choices: bool = False
    """Where a call asked for several choices (`n`), make transitions of those, too, that were not gone on from: at the
    same state, with their own ids, without a next observation and with no part in the outcome (`stop_reason`
    not_taken)."""

    own_models: list[str] = Field(default_factory=list)
    """Beginnings of model names that are ours, so their text counts as evidence C rather than D."""
