"""Reads published transitions into episodes and calls. Knows nothing of tensors or losses."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.schema import NOT_TAKEN, TRANSITIONS, Evidence, SetAside, Split, table_files
from train.data.admission import disown, rung_of, why_set_aside, with_agents
from train.data.logged import Call, Episode, Logged, Render, Truncation

INTERMEDIATE_REWARDS = tuple(name for name in TRANSITIONS if name.startswith("reward_") and name != "reward_outcome")
"""Columns of automatic intermediate rewards, one a signal."""

UNSCALED = ("reward_step", "reward_progress")
AIR_REWARDS = tuple(name for name in INTERMEDIATE_REWARDS if name not in UNSCALED)
"""Those the ETL read off the trace, which `air_scale` bounds; `reward_step` was given, and progress has no bound."""


def read_transitions(data: Path, split: Split, *, since: datetime | None = None) -> pl.DataFrame:
    """Read the transitions of one split, in order of project, episode and step.

    Of episodes that began before `since` there is none; of a dataset that was never published, none either. Choices
    that were not gone on from are left out: nobody knows what would have come of them.
    """
    schema = {name: _polars_type(dtype) for name, dtype in TRANSITIONS.items()}
    files = table_files(data, "transitions")
    if not files:
        return pl.DataFrame(schema=schema)
    rows = pl.scan_parquet(files, schema=schema, missing_columns="insert", extra_columns="ignore")
    rows = rows.filter(pl.col("split") == split.value, pl.col("stop_reason").ne_missing(NOT_TAKEN))
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
    tokenizer: str | None = None,
    admits: frozenset[Evidence] = frozenset({Evidence.EXACT}),
    render: Render | None = None,
) -> Logged:
    """Turn sorted transitions into episodes and calls; a call that cannot be trained carries the reason.

    `agents` are name patterns, none meaning all; `policies` the versions whose calls are trained, None meaning all;
    `own_version` that of the model whose weights are at hand, `tokenizer` the digest of its tokenizer; `admits` what
    must be known of a call. A call with log-probabilities whose version was not recorded passes: the run compares them
    with the model's own anyway. Calls known as text only get ids through `render`, where they are admitted.
    """
    episode_key = ("project", "episode_id")
    rows = disown(rows, tokenizer=tokenizer, versions=(policies or frozenset()) | {own_version or ""})
    if render is not None and admits & {Evidence.TEXT, Evidence.FOREIGN}:
        rows = _render_text(rows, render)
    rows = rows.with_columns(
        agent=pl.col("agent").fill_null(""),
        outcome=pl.col("outcome").drop_nulls().first().over(episode_key),
        episode=pl.struct(episode_key).rle_id(),
        intermediate=pl.sum_horizontal(pl.col(name).fill_null(0.0) for name in UNSCALED)
        + pl.col("air_scale").fill_null(1.0) * pl.sum_horizontal(pl.col(name).fill_null(0.0) for name in AIR_REWARDS),
        rung=rung_of(policies, own_version),
    ).with_columns(turn=pl.int_range(pl.len()).over("episode", "agent"))
    rows = rows.with_columns(
        set_aside=why_set_aside(
            with_agents(rows["agent"], agents),
            policies,
            admits,
            vocabulary_size=vocabulary_size,
            max_length=max_length,
        )
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


def _scalars(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    columns = rows.select(
        "span_id",
        "next_span_id",
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
        evidence="rung",
        was_cut_short=(pl.col("finish_reason") == "length").fill_null(False),
        truncation=pl.struct(
            top_p=pl.col("top_p").fill_null(1.0),
            top_k=pl.max_horizontal(pl.col("top_k").fill_null(0), 0),
            min_p=pl.col("min_p").fill_null(0.0),
        ),
    )
    whole = Truncation()
    for row in columns.iter_rows(named=True):
        reason, truncation = row["set_aside"], Truncation(**row["truncation"])
        yield row | {
            "set_aside": None if reason is None else SetAside(reason),
            "evidence": Evidence(row["evidence"]),
            "truncation": None if truncation == whole else truncation,
        }


def _logprobs(rows: pl.DataFrame) -> list[NDArray[np.float32]]:
    """Return the log-probabilities of every call, one for each response id: NaN for all where they are not exact."""
    exact = _ragged(rows["behavior_logprobs"], np.float32)
    lengths = rows["response_token_ids"].list.len().fill_null(0)
    return [
        logprobs if rung == Evidence.EXACT else np.full(length, np.nan, dtype=np.float32)
        for logprobs, rung, length in zip(exact, rows["rung"], lengths, strict=True)
    ]


def _ragged(lists: pl.Series, dtype: type[np.generic]) -> list[NDArray[Any]]:
    """Return a list column as arrays that share one buffer; a null list is empty, a null element 0.

    >>> _ragged(pl.Series([[1, 2], None, [3]], dtype=pl.List(pl.Int32)), np.int64)
    [array([1, 2]), array([], dtype=int64), array([3])]
    """
    lengths = lists.list.len().fill_null(0)
    values = lists.filter(lengths > 0).explode().fill_null(0).to_numpy().astype(dtype)
    return np.split(values, np.cumsum(lengths.to_numpy())[:-1]) if len(lengths) else []
