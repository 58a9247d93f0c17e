"""What was said of calls in words, and the prompts that tell it beforehand: the model's hindsight of its own answers.

A judge's explanation and a tool's error say more than a number. Told what was said, the model is a teacher of itself:
how much likelier it then finds each token that it had sampled says which of them were right (SDPO, arXiv:2601.20802;
arXiv:2601.19897). Words come out of traces, so they are shown to the model as a user's message and never sampled from.
"""

import json
from collections import defaultdict
from collections.abc import Sequence as Many
from pathlib import Path

import numpy as np
import polars as pl

from etl.schema import table_files
from train.data.lineage import UNTRAINED, Sequence, Start
from train.data.logged import Logged
from train.data.render import Prompt

FEEDBACK_TABLES = ("rewards", "tool_calls")
"""Published tables it is read from."""

MOST_CHARACTERS = 2000
"""Of all that is told of a call. A traceback ends with what matters, a verdict begins with it: both ends are kept."""

Said = dict[tuple[str, str, str], list[str]]
"""Project, episode and span of a call to what was said of it; the span is empty where the whole episode is meant."""


def read_feedback(data: Path) -> Said:
    """Read explanations of scores that count, and errors of tools, from the published tables."""
    said: Said = defaultdict(list)
    for table, span, text, is_meant in (
        (
            "rewards",
            pl.when(pl.col("judges") == "call").then(pl.coalesce("judged_span_id", "span_id")),
            "explanation",
            pl.col("used") & pl.col("episode_id").is_not_null(),
        ),
        ("tool_calls", pl.col("caused_by_span_id"), "error", pl.col("caused_by_span_id").is_not_null()),
    ):
        files = table_files(data, table)
        if not files:
            continue
        rows = (
            pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
            .filter(is_meant)
            .select("project", "episode_id", span.fill_null("").alias("of"), pl.col(text).str.strip_chars())
            .filter(pl.col(text) != "")
            .unique(maintain_order=True)
        )
        for project, episode, named, words in rows.collect().iter_rows():
            said[project, episode, named].append(words)
    return said


def tell(said: Many[str]) -> str:
    """Return the message that tells what was said.

    >>> print(tell(["division by zero"]))
    An earlier answer to this was given, and this is what came of it:
    - division by zero
    """
    listed = "\n".join(f"- {one}" for one in said)
    if len(listed) > MOST_CHARACTERS:
        listed = f"{listed[: MOST_CHARACTERS // 2]} … {listed[-MOST_CHARACTERS // 2 :]}"
    return f"An earlier answer to this was given, and this is what came of it:\n{listed}"


def hindsight(logged: Logged, rows: pl.DataFrame, said: Said, prompt: Prompt, *, max_length: int) -> list[Sequence]:
    """Return for each trainable call of which something was said its answer, after a prompt that tells it.

    A call whose messages are not known, or whose prompt the template cannot write or the model not hold, has none.
    """
    asked = {
        (project, episode, span): (observation, tools)
        for project, episode, span, observation, tools in rows.select(
            "project", "episode_id", "span_id", "observation", "tools"
        ).iter_rows()
    }
    found = []
    for index, call in enumerate(logged.calls):
        episode = logged.episodes[call.episode]
        key = (episode.project, episode.episode_id, call.span_id)
        words = [*said.get(key, ()), *said.get((*key[:2], ""), ())]
        observation, tools = asked.get(key, (None, None))
        if call.set_aside is not None or not words or observation is None:
            continue
        told = prompt(json.loads(observation), json.loads(tools) if tools else None, tell(words))
        if told is None or len(told) + len(call.response_ids) > max_length:
            continue
        ids = np.concatenate([np.array(told, dtype=np.int64), call.response_ids])
        of = np.full(len(ids), UNTRAINED, dtype=np.int64)
        of[len(told) :] = index
        logprobs = np.zeros(len(ids), dtype=np.float32)
        logprobs[len(told) :] = call.behavior_logprobs
        found.append(Sequence(ids, of, logprobs, Start.FIRST))
    return found
