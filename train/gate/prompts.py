"""A policy is weights and a prompt: what was earned under another prompt than the one in force says little of it."""

import polars as pl

LATEST = 100
"""Calls of an agent, the newest, of which most were made under the version in force; a canary's are the fewer."""


def under_prompts_in_force(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return the rows without the episodes of which a call was made under another version of its prompt, and how many.

    Agents whose prompts nobody names are as they were. The version in force is that of most of an agent's newest calls,
    of equally many the latest.

    >>> rows = pl.DataFrame(
    ...     {"project": "p", "episode_id": ["a", "b", "c"], "prompt_name": ["x", "x", None], "start_ns": [1, 2, 3],
    ...      "prompt_version": ["0", "1", None]}, schema_overrides={"prompt_name": pl.String}
    ... )
    >>> under_prompts_in_force(rows.vstack(rows[1:2]))[0]["episode_id"].to_list()
    ['b', 'c', 'b']
    """
    if "prompt_version" not in rows.columns or rows["prompt_version"].is_null().all():
        return rows, 0
    name = ["project", "prompt_name"]
    named = rows.filter(pl.col("prompt_version").is_not_null())
    latest = named.sort("start_ns", descending=True).group_by(name, maintain_order=True).head(LATEST)
    in_force = (
        latest.group_by(*name, "prompt_version")
        .agg(pl.len().alias("calls"), pl.col("start_ns").max().alias("last"))
        .sort("calls", "last", descending=True)
        .group_by(name, maintain_order=True)
        .first()
        .select(*name, pl.col("prompt_version").alias("in_force"))
    )
    joined = rows.join(in_force, on=name, how="left", nulls_equal=True, maintain_order="left")
    is_other = (joined["prompt_version"] != joined["in_force"]).fill_null(False)
    episodes = joined.filter(is_other).select("project", "episode_id").unique()
    kept = rows.join(episodes, on=["project", "episode_id"], how="anti", maintain_order="left")
    return kept, len(rows) - len(kept)
