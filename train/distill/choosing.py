"""Which calls are worth imitating: whole, good by what is known of them, each once, no task too often."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from foundation.errors import GateRefused, SettingsError
from foundation.json_schema import judge as judge_by_schema
from train.data.admission import with_agents
from train.data.reading import AIR_REWARDS, UNSCALED
from train.distill.duplicates import is_near, is_repeated

DEFAULT_THRESHOLD = 0.5


class Left(StrEnum):
    """Why a call is not imitated."""

    OTHER_AGENT = "other_agent"
    """Its agent is not among those asked for."""

    NO_CONTENT = "no_content"
    """Its messages or its answer are not recorded as text."""

    MEDIA = "media"
    """It was shown pictures or sound, which a text model cannot be."""

    CUT_SHORT = "cut_short"
    """Its answer ended at a limit, or its episode in an error."""

    REFUSED = "refused"
    """The teacher declined to answer."""

    MASKED = "masked"
    """Its answer holds a placeholder of what was redacted: the student would learn to write it."""

    MALFORMED = "malformed"
    """It calls a tool that was not offered, or with arguments that do not fit it."""

    NOT_GOOD = "not_good"
    """Its episode's outcome is below the threshold."""

    NO_OUTCOME = "no_outcome"
    """Nobody rewarded its episode, while others were."""

    BAD_SIGNAL = "bad_signal"
    """Nobody rewarded anything, and the trace speaks against it: a tool failed, it was asked again, a user objected."""

    BAD_JUDGEMENT = "bad_judgement"
    """The judge did not find it good enough, or said nothing of it."""

    DUPLICATE = "duplicate"
    """The same was asked and answered before, but for spaces, case and punctuation."""

    NEAR_DUPLICATE = "near_duplicate"
    """Nearly the same was asked, and nearly the same answered, before: numbers and tool calls are alike."""

    TOO_MANY = "too_many"
    """Its task has enough episodes without it."""

    UNRENDERED = "unrendered"
    """The student's chat template does not write it so that it reads back the same."""

    TOO_LONG = "too_long"
    """It has more tokens than the student has positions."""


@dataclass(frozen=True)
class Choice:
    """The calls to imitate, and what became of the others."""

    rows: pl.DataFrame
    left: dict[str, int]
    """Calls left out, by the first reason that applies."""

    by: str
    """How good ones were told: `outcomes`, `signals` or `judge`."""

    threshold: float | None
    is_unanimous: bool = False
    """All outcomes are alike: nothing says which were better."""


REFUSAL = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry|i can(?:no|')t (?:help|assist|do)|i am unable|i'm unable|as an ai)\b",
    re.IGNORECASE,
)
MASK = re.compile(r"__REDACTED__|\[(?:REDACTED|FILTERED|MASKED)\]|<[A-Z][A-Z_]*_[0-9A-Fa-f]{4,}>|\*{6,}")
WITHOUT_END = ("length", "max_tokens", "content_filter", "error")
UNFINISHED = ("error", "incomplete", "length")


def choose(
    rows: pl.DataFrame,
    *,
    agents: tuple[str, ...] = (),
    threshold: float | None = None,
    max_per_task: int = 4,
    judged: "dict[tuple[str, str, str], float] | None" = None,
    judge_threshold: float = 0.8,
) -> Choice:
    """Choose among transitions, in their order; `judged` are judgements by project, episode and span.

    Outcomes decide where there are any; else the judge, where there is one; else what the trace says. Raises where the
    agents, their outcomes or the scale of these leave no choice.
    """
    named = sorted({str(name) for name in rows["agent"].drop_nulls().unique()})
    chosen_agents = set(with_agents(rows["agent"].fill_null(""), agents))
    if agents and not chosen_agents & set(named):
        raise SettingsError(
            f"no agent is called {', '.join(agents)}", hint=f"The data has: {', '.join(named) or 'none that is named'}."
        )
    reasons = [_form(row, chosen_agents) for row in rows.iter_rows(named=True)]
    outcome = pl.col("outcome").fill_nan(None).drop_nulls().first().over("project", "episode_id")
    rows = rows.with_columns(outcome=outcome, left=pl.Series(reasons, dtype=pl.String))
    whole = rows.filter(pl.col("left").is_null())
    known = whole["outcome"].drop_nulls()
    by = "outcomes" if len(known) else "signals" if judged is None else "judge"
    unanimous = bool(len(known)) and known.n_unique() == 1
    if by == "outcomes":
        threshold = _threshold(known, threshold)
        rows = _leave(rows, pl.col("outcome").is_null(), Left.NO_OUTCOME)
        rows = _leave(rows, ~(pl.col("outcome") >= threshold), Left.NOT_GOOD)
    else:
        against = pl.sum_horizontal(pl.col(name).fill_null(0.0) for name in (*AIR_REWARDS, *UNSCALED)) < 0
        rows = _leave(rows, against, Left.BAD_SIGNAL)
    rows = _leave(rows, is_repeated(rows), Left.DUPLICATE)
    rows = _leave(rows, is_near(rows), Left.NEAR_DUPLICATE)
    rows = _leave(rows, _is_too_many(rows, max_per_task), Left.TOO_MANY)
    if by == "judge" and judged is not None:  # last, so that no more is judged than would be taken
        found = [judged.get(key) for key in rows.select("project", "episode_id", "span_id").iter_rows()]
        rows = rows.with_columns(judgement=pl.Series(found, dtype=pl.Float64))
        rows = _leave(rows, ~(pl.col("judgement") >= judge_threshold).fill_null(False), Left.BAD_JUDGEMENT)
    left = rows["left"].drop_nulls().value_counts(sort=True)
    return Choice(
        rows.filter(pl.col("left").is_null()).drop("left", "judgement", strict=False),
        dict(left.iter_rows()),
        by,
        threshold if by == "outcomes" else judge_threshold if by == "judge" else None,
        unanimous,
    )


def _threshold(known: pl.Series, given: float | None) -> float:
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]
    if given is None and not (low >= 0 and high <= 1):
        raise SettingsError(
            f"outcomes run from {low:g} to {high:g}, and what of it is good, nobody said",
            hint="Say it with --threshold; only between 0 and 1 one half is taken for granted.",
        )
    threshold = DEFAULT_THRESHOLD if given is None else given
    if not high >= threshold:
        raise GateRefused(
            f"no outcome reaches {threshold:g}: they run from {low:g} to {high:g} in {len(known)} calls",
            hint="Nothing here is worth imitating; a lower --threshold takes what is there.",
        )
    return threshold


def _leave(rows: pl.DataFrame, condition: pl.Expr, reason: Left) -> pl.DataFrame:
    is_new = pl.col("left").is_null() & condition.fill_null(False)
    return rows.with_columns(left=pl.when(is_new).then(pl.lit(reason.value)).otherwise("left"))


def _is_too_many(rows: pl.DataFrame, most: int) -> pl.Expr:
    """Tell which calls are of episodes beyond the best so many of their task, the earliest of equals first."""
    found: dict[tuple[str, str], dict[str, tuple[float, int, str]]] = {}
    columns = ("left", "project", "task_id", "episode_id", "outcome", "start_ns")
    keys = list(rows.select(columns).iter_rows())
    for left, project, task, episode, outcome, start_ns in keys:
        if left is None:
            began = found.setdefault((project, task), {})
            place = (-(outcome or 0.0), start_ns or 0, episode)
            began[episode] = min(began.get(episode, place), place)
    beyond = {
        (task, episode) for task, began in found.items() for episode in sorted(began, key=began.__getitem__)[most:]
    }
    return pl.lit(pl.Series([((row[1], row[2]), row[3]) in beyond for row in keys], dtype=pl.Boolean))


def _form(row: dict[str, Any], agents: set[str]) -> str | None:
    """Return what the form of a call has against it, null where nothing."""
    if (row["agent"] or "") not in agents:
        return Left.OTHER_AGENT
    if row["media"]:
        return Left.MEDIA
    action = json.loads(row["action"] or "null")
    if not action or not json.loads(row["observation"] or "null"):
        return Left.NO_CONTENT
    text, calls = (action.get("text") or "").strip(), action.get("tool_calls") or []
    if not text and not calls:
        return Left.REFUSED if action.get("refusal") else Left.NO_CONTENT
    finish = row["finish_reason"] or action.get("finish_reason")
    if finish in WITHOUT_END or row["stop_reason"] in UNFINISHED:
        return Left.CUT_SHORT
    if action.get("refusal") or (not calls and REFUSAL.match(text)):
        return Left.REFUSED
    if MASK.search(row["action"]):
        return Left.MASKED
    tools = json.loads(row["tools"]) if row["tools"] else None
    return None if all(_fits(call, tools) for call in calls) else Left.MALFORMED


def _fits(call: dict[str, Any], tools: list[dict[str, Any]] | None) -> bool:
    if not isinstance(call.get("arguments") or {}, dict):
        return False
    if tools is None:
        return True
    schemas = {tool["name"]: tool.get("parameters") for tool in tools}
    if call["name"] not in schemas:
        return False
    schema = schemas[call["name"]]
    return not isinstance(schema, dict) or judge_by_schema(call.get("arguments") or {}, schema) is not False
