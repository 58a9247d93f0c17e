"""Reads published transitions and decides, row by row, what can be trained. Knows nothing of tensors or losses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.schema import TRANSITIONS, Evidence, Split, table_files

INTERMEDIATE_REWARDS = tuple(name for name in TRANSITIONS if name.startswith("reward_") and name != "reward_outcome")
"""Columns of automatic intermediate rewards, one a signal."""


UNSCALED = ("reward_step", "reward_progress")
AIR_REWARDS = tuple(name for name in INTERMEDIATE_REWARDS if name not in UNSCALED)
"""Those the ETL read off the trace, which `air_scale` bounds; `reward_step` was given, and progress has no bound."""


class Known(StrEnum):
    """What is known of how a call was sampled, as the model in training sees it; losses are chosen by it."""

    EXACT = "exact"
    """Ids and the log-probabilities of the very distribution they were drawn from (evidence A)."""

    RESCORED = "rescored"
    """Ids sampled by the model in training: it can say the log-probabilities itself (evidence B)."""

    IDS = "ids"
    """Ids sampled by an ancestor of the model (evidence B)."""

    CUT = "cut"
    """Ids, but the distribution was cut or greedy, and what was left of it is not on record (evidence A or B)."""

    TEXT = "text"
    """Text of our own model family, rendered with the model's template (evidence C)."""

    FOREIGN = "foreign"
    """Text, or ids, of another model (evidence D, or B of a policy nobody knows)."""


class SetAside(StrEnum):
    """Why a call is context only: its tokens are not trained, its rewards still count for the calls before it."""

    NO_OUTCOME = "no_outcome"
    """Nobody rewarded its episode."""

    OTHER_AGENT = "other_agent"
    """Its agent is not among those to train."""

    OTHER_POLICY = "other_policy"
    """A policy sampled it that is no near ancestor of the model."""

    NOT_EXACT = "not_exact"
    """Less is known of its sampling than the loss needs: no token ids, or no log-probabilities."""

    UNRENDERED = "unrendered"
    """Known as text only, and the model's chat template does not write it so that it reads back the same."""

    GREEDY = "greedy"
    """Temperature 0: nothing was sampled, so nothing else had a probability."""

    TRUNCATED_SAMPLING = "truncated_sampling"
    """top_p, top_k or min_p cut the distribution, and which tokens were left is not on record."""

    RAW_LOGPROBS = "raw_logprobs"
    """Log-probabilities from before the temperature, which was not 1."""

    MASKED = "masked"
    """A grammar, bias or penalty cut the distribution beyond what the sampling parameters say."""

    MALFORMED = "malformed"
    """Ids and log-probabilities of unequal length, none at all, ids outside the vocabulary, or no temperature."""

    TOO_LONG = "too_long"
    """More tokens than the model has positions."""


Render = Callable[[str | None, str | None, str], tuple[list[int], list[int]] | None]
"""Observation, tools and action as JSON text to the ids of prompt and response, null where they do not read back."""


@dataclass(frozen=True)
class Call:
    """One LLM call of a logged episode."""

    span_id: str
    agent: str
    episode: int
    """Index of its episode in `Logged.episodes`."""

    turn: int
    """How many calls of the same agent came before it in the episode."""

    start_ns: int
    end_ns: int
    intermediate: float
    """Sum of its automatic intermediate rewards; 0 where no signal fired."""

    set_aside: SetAside | None
    """Null when its sampled tokens can be trained."""

    prompt_ids: NDArray[np.int64]
    """Empty when not known."""

    response_ids: NDArray[np.int64]
    behavior_logprobs: NDArray[np.float32]
    """Log-probability of each response id under what it was sampled from, NaN where unknown; same length."""

    temperature: float
    """1 where it was not recorded or 0."""

    policy_version: str | None

    known: Known = Known.EXACT

    was_cut_short: bool = False
    """It ended because it was long, not because it was done."""


@dataclass(frozen=True)
class Episode:
    """One logged attempt at one task."""

    episode_id: str
    task: str
    """Episodes of the same task are comparable; one without a task id is a task of its own."""

    outcome: float
    """NaN when nobody rewarded it."""

    user: str | None = None
    """Whom the agent worked for; null when nobody said."""

    project: str = ""


@dataclass(frozen=True)
class Logged:
    """Episodes and their calls, in order of project, episode and step."""

    episodes: list[Episode]
    calls: list[Call]

    def is_trained(self) -> NDArray[np.bool_]:
        """Tell for every call whether its tokens can be trained."""
        return np.array([call.set_aside is None for call in self.calls], dtype=bool)

    def count_set_aside(self) -> dict[str, int]:
        """Count the calls that are context only, by reason."""
        counts = {reason.value: sum(call.set_aside is reason for call in self.calls) for reason in SetAside}
        return {reason: count for reason, count in counts.items() if count}


def read_transitions(data: Path, split: Split, *, since: datetime | None = None) -> pl.DataFrame:
    """Read the transitions of one split, in order of project, episode and step.

    Of episodes that began before `since` there is none; of a dataset that was never published, none either.
    """
    schema = {name: _polars_type(dtype) for name, dtype in TRANSITIONS.items()}
    files = table_files(data, "transitions")
    if not files:
        return pl.DataFrame(schema=schema)
    rows = pl.scan_parquet(files, schema=schema, missing_columns="insert", extra_columns="ignore")
    rows = rows.filter(pl.col("split") == split.value)
    if since is not None:
        instant = since if since.tzinfo else since.replace(tzinfo=UTC)
        began = pl.col("start_ns").min().over("project", "episode_id")
        rows = rows.filter(began >= int(instant.timestamp()) * 1_000_000_000 + instant.microsecond * 1000)
    return rows.sort("project", "episode_id", "step", "span_id").collect()


def _polars_type(spelled: str) -> pl.DataType:
    """Return the Polars type a contract spells as text.

    >>> _polars_type("List(Int32)")
    List(Int32)
    """
    if spelled.startswith("List("):
        return pl.List(_polars_type(spelled.removeprefix("List(").removesuffix(")")))
    named: type[pl.DataType] = getattr(pl, spelled)
    return named()


def count_evidence(rows: pl.DataFrame) -> dict[str, int]:
    """Count rows by how well their sampling is known."""
    counts = rows.group_by("evidence").len().sort("evidence").rows()
    return {str(evidence): count for evidence, count in counts}


def read_calls(
    rows: pl.DataFrame,
    *,
    vocabulary_size: int,
    max_length: int,
    agents: tuple[str, ...] = (),
    policies: frozenset[str] | None = None,
    own_version: str | None = None,
    admits: frozenset[Known] = frozenset({Known.EXACT}),
    render: Render | None = None,
) -> Logged:
    """Turn sorted transitions into episodes and calls; a call that cannot be trained carries the reason.

    `agents` are name patterns, none meaning all; `policies` the versions whose calls are trained, None meaning all;
    `own_version` that of the model in training; `admits` what must be known of a call. A call with log-probabilities
    whose version was not recorded passes: the run compares them with the model's own anyway. Calls known as text only
    get ids through `render`, where they are admitted.
    """
    episode_key = ("project", "episode_id")
    if render is not None and admits & {Known.TEXT, Known.FOREIGN}:
        rows = _render_text(rows, render)
    rows = rows.with_columns(
        agent=pl.col("agent").fill_null(""),
        outcome=pl.col("outcome").drop_nulls().first().over(episode_key),
        episode=pl.struct(episode_key).rle_id(),
        intermediate=pl.sum_horizontal(pl.col(name).fill_null(0.0) for name in UNSCALED)
        + pl.col("air_scale").fill_null(1.0) * pl.sum_horizontal(pl.col(name).fill_null(0.0) for name in AIR_REWARDS),
        known=_known(policies, own_version),
    ).with_columns(turn=pl.int_range(pl.len()).over("episode", "agent"))
    trained_agents = [name for name in rows["agent"].unique() if not agents or _matches(name, agents)]
    rows = rows.with_columns(
        set_aside=_set_aside(trained_agents, policies, admits, vocabulary_size=vocabulary_size, max_length=max_length)
    )
    return Logged(
        [
            Episode(
                episode_id,
                task=f"{project}/task/{task}" if task is not None else f"{project}/episode/{episode_id}",
                outcome=float("nan") if outcome is None else outcome,
                user=f"{project}/user/{user}" if user is not None else None,
                project=project,
            )
            for project, episode_id, task, outcome, user in rows.group_by("episode", maintain_order=True)
            .agg(pl.col("project", "episode_id", "task_id", "outcome", "user_id").first())
            .drop("episode")
            .iter_rows()
        ],
        [
            Call(**scalars, prompt_ids=prompt, response_ids=response, behavior_logprobs=logprobs)
            for scalars, prompt, response, logprobs in zip(
                _scalars(rows),
                _ragged(rows["prompt_token_ids"], np.int64),
                _ragged(rows["response_token_ids"], np.int64),
                _logprobs(rows),
                strict=True,
            )
        ],
    )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _render_text(rows: pl.DataFrame, render: Render) -> pl.DataFrame:
    """Give the rows without ids those of their text; where that cannot be done they stay without."""
    texts = rows.select("observation", "tools", "action", "prompt_token_ids", "response_token_ids")
    rendered = [
        (prompt, response)
        if prompt is not None or action is None
        else (render(observation, tools, action) or (None, None))
        for observation, tools, action, prompt, response in texts.iter_rows()
    ]
    return rows.with_columns(
        pl.Series("prompt_token_ids", [prompt for prompt, _ in rendered], dtype=pl.List(pl.Int32)),
        pl.Series("response_token_ids", [response for _, response in rendered], dtype=pl.List(pl.Int32)),
    )


def _cut() -> pl.Expr:
    """Return why the recorded distribution is not the one that was sampled from, null where it is."""
    temperature = pl.col("temperature")
    is_truncated = (
        (pl.col("top_p").fill_null(1.0) < 1) | (pl.col("top_k").fill_null(0) > 0) | (pl.col("min_p").fill_null(0.0) > 0)
    )
    return (
        pl.when(temperature <= 0)
        .then(pl.lit(SetAside.GREEDY.value))
        .when(is_truncated)
        .then(pl.lit(SetAside.TRUNCATED_SAMPLING.value))
        .when((pl.col("logprobs_mode") == "raw") & (temperature != 1))
        .then(pl.lit(SetAside.RAW_LOGPROBS.value))
        .when(pl.col("logprobs_mode") == "masked")
        .then(pl.lit(SetAside.MASKED.value))
    )


def _known(policies: frozenset[str] | None, own_version: str | None) -> pl.Expr:
    evidence, version = pl.col("evidence"), pl.col("policy_version")
    is_ancestor = version.is_in(sorted(policies or ())).fill_null(False)
    is_own = version.is_in([own_version]).fill_null(False) & pl.col("temperature").is_not_null()
    return (
        pl.when((evidence == Evidence.TEXT.value).fill_null(False))
        .then(pl.lit(Known.TEXT.value))
        .when(~evidence.is_in([Evidence.EXACT.value, Evidence.IDS.value]).fill_null(False))
        .then(pl.lit(Known.FOREIGN.value))
        .when((evidence == Evidence.IDS.value) & ~(is_ancestor | is_own))
        .then(pl.lit(Known.FOREIGN.value))
        .when(_cut().is_not_null())
        .then(pl.lit(Known.CUT.value))
        .when(evidence == Evidence.EXACT.value)
        .then(pl.lit(Known.EXACT.value))
        .when(is_own)
        .then(pl.lit(Known.RESCORED.value))
        .otherwise(pl.lit(Known.IDS.value))
    )


def _set_aside(
    agents: list[str],
    policies: frozenset[str] | None,
    admits: frozenset[Known],
    *,
    vocabulary_size: int,
    max_length: int,
) -> pl.Expr:
    """Return the first reason that applies, null when the call can be trained."""
    prompt, response, logprobs = (
        pl.col(name) for name in ("prompt_token_ids", "response_token_ids", "behavior_logprobs")
    )
    known, has_ratio = pl.col("known"), pl.col("known") == Known.EXACT.value
    is_other = pl.lit(False) if policies is None else ~pl.col("policy_version").is_in(sorted(policies))
    ids_fit = pl.all_horizontal(
        (ids.list.min() >= 0) & (ids.list.max() < vocabulary_size) & ~ids.list.contains(None)
        for ids in (prompt, response)
    )
    logprobs_fit = (logprobs.list.len() == response.list.len()) & logprobs.list.eval(
        pl.element().is_finite().fill_null(False)
    ).list.all()
    temperature_fits = pl.col("temperature").is_finite()
    return (
        pl.when(pl.col("outcome").is_null() | ~pl.col("outcome").is_finite())
        .then(pl.lit(SetAside.NO_OUTCOME.value))
        .when(~pl.col("agent").is_in(agents))
        .then(pl.lit(SetAside.OTHER_AGENT.value))
        .when((pl.col("evidence") == Evidence.EXACT.value).fill_null(False) & is_other.fill_null(False))
        .then(pl.lit(SetAside.OTHER_POLICY.value))
        .when(~known.is_in(sorted(admits)) & (known == Known.CUT.value))
        .then(_cut())
        .when(~known.is_in(sorted(admits)))
        .then(pl.lit(SetAside.NOT_EXACT.value))
        .when(known.is_in([Known.TEXT.value, Known.FOREIGN.value]) & (prompt.is_null() | response.is_null()))
        .then(pl.lit(SetAside.UNRENDERED.value))
        .when(~ids_fit.fill_null(False) | (has_ratio & ~(logprobs_fit & temperature_fits).fill_null(False)))
        .then(pl.lit(SetAside.MALFORMED.value))
        .when(prompt.list.len() + response.list.len() > max_length)
        .then(pl.lit(SetAside.TOO_LONG.value))
    )


def _scalars(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    columns = rows.select(
        "span_id",
        "agent",
        "episode",
        "turn",
        pl.col("start_ns").fill_null(0),
        pl.col("end_ns").fill_null(pl.col("start_ns")).fill_null(0),
        "intermediate",
        "set_aside",
        # Greedy calls are scored at temperature 1: 0 has no log-probabilities.
        temperature=pl.when(pl.col("temperature") > 0).then(pl.col("temperature")).otherwise(1.0).fill_nan(1.0),
        policy_version="policy_version",
        known="known",
        was_cut_short=(pl.col("finish_reason") == "length").fill_null(False),
    )
    for row in columns.iter_rows(named=True):
        reason = row["set_aside"]
        yield row | {"set_aside": None if reason is None else SetAside(reason), "known": Known(row["known"])}


def _logprobs(rows: pl.DataFrame) -> list[NDArray[np.float32]]:
    """Return the log-probabilities of every call, one for each response id: NaN for all where they are not exact."""
    exact = _ragged(rows["behavior_logprobs"], np.float32)
    lengths = rows["response_token_ids"].list.len().fill_null(0)
    return [
        logprobs if known == Known.EXACT else np.full(length, np.nan, dtype=np.float32)
        for logprobs, known, length in zip(exact, rows["known"], lengths, strict=True)
    ]


def _ragged(lists: pl.Series, dtype: type[np.generic]) -> list[NDArray[Any]]:
    """Return a list column as arrays that share one buffer; a null list is empty, a null element 0.

    >>> _ragged(pl.Series([[1, 2], None, [3]], dtype=pl.List(pl.Int32)), np.int64)
    [array([1, 2]), array([], dtype=int64), array([3])]
    """
    lengths = lists.list.len().fill_null(0)
    values = lists.filter(lengths > 0).explode().fill_null(0).to_numpy().astype(dtype)
    return np.split(values, np.cumsum(lengths.to_numpy())[:-1]) if len(lengths) else []
