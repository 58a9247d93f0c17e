"""The plan of a distillation: chosen calls as the student's tokens, and which of them are held out."""

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from etl.schema import SetAside, Split
from foundation.errors import GateRefused, SettingsError
from foundation.narration import get_logger
from train.data.lineage import Sequence, build_sequences
from train.data.logged import Logged
from train.data.reading import read_calls, read_transitions
from train.data.render import make_renderer
from train.distill.choosing import Choice, Left, choose
from train.distill.judging import judge_calls
from train.distill.settings import DistillConfig
from train.losses.registry import ANY
from train.losses.routing import route_calls
from train.plan import Plan, leave_out_imitated, read_imitated, read_limits, trainable_policies
from train.schema import base_of, tokenizer_digests

log = get_logger("distill")

HELDOUT_ONE_IN = 10
"""Tasks held out where the ETL held out none."""

LEAST_RENDERED = 0.5
"""Share of the calls with tools below which a template cannot be said to write them."""


class TooFew(GateRefused):
    """There is too little to imitate, which more traffic may change."""


@dataclass(frozen=True)
class Lesson:
    """What a student is taught, and what it is examined by."""

    plan: Plan
    taught: list[Sequence]
    examined: list[Sequence]
    choice: Choice
    num_read: int
    num_imitated_before: int
    teachers: dict[str, int]
    """Chosen calls by the model that answered."""

    pruned: str | None
    """Digest of the system message that was left out."""

    @property
    def left(self) -> dict[str, int]:
        """Calls left out, by reason, those that the student's template left out among them."""
        return self.choice.left


def read_choice(config: DistillConfig) -> tuple[Choice, int, int]:
    """Return the calls worth imitating, the number of those read, and of those imitated before."""
    if not config.data.is_dir():
        raise SettingsError(
            f"{config.data} is no directory", hint="--data takes the directory that etl run publishes to."
        )
    rows = pl.concat([read_transitions(config.data, split, since=config.since) for split in Split])
    if rows.is_empty():
        raise TooFew(
            f"no transition is published in {config.data}",
            hint=f"Import or collect traces, then: spanloop etl run --data {config.data}",
        )
    num_read = rows.height
    num_before = 0
    if config.model is not None and not config.again:
        rows, num_before = leave_out_imitated(rows, read_imitated(config.model))
        if rows.is_empty():
            raise TooFew(
                f"all {num_before} calls were imitated before by {config.model.name} or a checkpoint it comes from",
                hint="Wait for new ones, or repeat them with --again.",
            )
    judged = None
    if config.judge is not None and rows["outcome"].null_count() == rows.height:
        judged = judge_calls(choose(rows, agents=config.agent, max_per_task=config.max_per_task).rows, config)
    choice = choose(
        rows,
        agents=config.agent,
        threshold=config.threshold,
        max_per_task=config.max_per_task,
        judged=judged,
        judge_threshold=config.judge_threshold,
    )
    if choice.is_unanimous:
        log.warning(
            "all outcomes are alike: nothing says which calls were better than others",
            outcome=choice.rows["outcome"].max(),
        )
    if choice.rows.height < config.min_calls:
        counted = ", ".join(f"{count} {reason}" for reason, count in choice.left.items()) or "none"
        raise TooFew(
            f"{choice.rows.height} calls are worth imitating, {config.min_calls} at least (min_calls); "
            f"left out: {counted}",
            hint=_way_out(choice, num_before),
        )
    return choice, num_read, num_before


def _way_out(choice: Choice, num_before: int) -> str:
    worst = max(choice.left, key=lambda reason: choice.left[reason], default=None)
    told = {
        Left.NO_CONTENT: "The traces hold no content: have the instrumentation record messages "
        "(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true, or what yours calls it).",
        Left.NOT_GOOD: "Most episodes went badly: a lower --threshold takes what is there.",
        Left.NO_OUTCOME: "Most episodes have no outcome: reward more of them.",
        Left.OTHER_AGENT: "Most calls are of agents that --agent leaves out.",
        Left.BAD_JUDGEMENT: "The judge finds little good: a lower --judge-threshold, or another judge.",
        Left.MASKED: "Most answers hold placeholders of redacted values.",
    }
    if num_before > choice.rows.height:
        return f"{num_before} calls were imitated before: wait for new ones, or repeat them with --again."
    return told.get(Left(worst), "Wait for more traffic, or lower --min-calls.") if worst else "Wait for more traffic."


def prepare(config: DistillConfig, model: Path) -> Lesson:
    """Write the chosen calls as the student's own template does, and hold out whole tasks."""
    choice, num_read, num_before = read_choice(config)
    rows, pruned = prune_system(choice.rows) if config.prune else (choice.rows, None)
    logged = render(rows, model)
    _refuse_unwritten(rows, logged, model)
    left = dict(choice.left)
    for reason, called in ((SetAside.UNRENDERED, Left.UNRENDERED), (SetAside.TOO_LONG, Left.TOO_LONG)):
        if count := logged.count_set_aside().get(reason.value):
            left[called.value] = count
    choice = replace(choice, left=left)
    is_rewarded = choice.by == "outcomes"
    heldout = held_out(rows)
    num_calls = len(logged.calls)
    route, advantages = route_calls(logged, np.ones(num_calls), loss="rft", negative=0.0)
    is_examined = np.array([heldout[call.span_id] for call in logged.calls], dtype=bool)
    route = replace(route, weight=route.weight * ~is_examined)
    sequences = build_sequences(logged.calls)
    examined = [each for each in sequences if is_examined[each.calls].any()]
    taught = [each for each in sequences if not is_examined[each.calls].any()]
    num_taught = int(sum(len(each.calls) for each in taught))
    num_examined = int(sum(len(each.calls) for each in examined))
    if num_taught < config.min_calls or not examined:
        raise TooFew(
            f"{num_taught} calls to teach by and {num_examined} to examine by are left, of {rows.height}",
            hint="Tasks are held out whole: more tasks, or a larger --holdout of `spanloop etl run`.",
        )
    if not is_rewarded:
        episodes = [replace(episode, outcome=float("nan")) for episode in logged.episodes]
        logged = Logged(episodes, logged.calls)
    facts = {
        "num_read": num_read,
        "num_chosen": rows.height,
        "num_taught_calls": num_taught,
        "num_examined_calls": num_examined,
        "num_tasks": len({episode.task for episode in logged.episodes}),
        "num_imitated_before": num_before,
        "num_trained_tokens": sum(each.num_trained for each in taught),
        "chosen_by": choice.by,
        "threshold": choice.threshold,
        "left_out": choice.left,
    }
    versions = tuple(trainable_policies(model, 0))
    plan = Plan(logged, sequences, advantages, route, facts, credited=np.ones(num_calls), versions=versions)
    teachers = dict(rows["behavior_model"].fill_null("unknown").value_counts(sort=True).iter_rows())
    return Lesson(plan, taught, examined, choice, num_read, num_before, teachers, pruned)


def render(rows: pl.DataFrame, model: Path) -> Logged:
    """Return chosen calls with the student's token ids; one its template does not write is set aside."""
    vocabulary_size, max_length = read_limits(model)
    tokenizer, _ = tokenizer_digests(model)
    return read_calls(
        rows.with_columns(outcome=pl.col("outcome").fill_null(1.0)).sort("project", "episode_id", "step", "span_id"),
        vocabulary_size=vocabulary_size,
        max_length=max_length,
        tokenizer=tokenizer,
        admits=ANY,
        render=make_renderer(base_of(model) or model),
    )


def has_tools(action: str) -> bool:
    """Tell whether an answer calls a tool."""
    return bool(json.loads(action).get("tool_calls"))


def _refuse_unwritten(rows: pl.DataFrame, logged: Logged, model: Path) -> None:
    calling = {span for span, action in rows.select("span_id", "action").iter_rows() if has_tools(action)}
    written = [call.set_aside is not SetAside.UNRENDERED for call in logged.calls if call.span_id in calling]
    if written and sum(written) < LEAST_RENDERED * len(written):
        raise SettingsError(
            f"the chat template of {model.name} writes {sum(written)} of {len(written)} tool calls so that they read "
            "back",
            hint="A student of an agent with tools needs a template for tool calls: choose another --model "
            "(--dry-run ranks those at hand).",
        )
    if logged.calls and all(call.set_aside is SetAside.UNRENDERED for call in logged.calls):
        raise SettingsError(
            f"the chat template of {model.name} writes none of the {len(logged.calls)} calls so that they read back",
            hint="A student needs a chat template: choose an instruct model.",
        )


def held_out(rows: pl.DataFrame) -> dict[str, bool]:
    """Tell of every call whether it is held out: as the ETL has it, else one task in ten by its hash."""
    of_etl = rows["split"] == Split.HELDOUT.value
    if of_etl.any() and not of_etl.all():
        return dict(zip(rows["span_id"], of_etl, strict=True))
    group = rows["split_group"].fill_null("") if "split_group" in rows.columns else rows["task_id"].fill_null("")
    keys = [group[index] or str(rows["task_id"][index]) for index in range(rows.height)]
    by_hash = [int(sha256(key.encode()).hexdigest()[:8], 16) % HELDOUT_ONE_IN == 0 for key in keys]
    return dict(zip(rows["span_id"], by_hash, strict=True))


def prune_system(rows: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
    """Leave out the system message where every call has the same one; return its digest."""
    observations: list[list[dict[str, Any]]] = [json.loads(text) for text in rows["observation"]]
    system = {json.dumps([m for m in messages if m["role"] == "system"], sort_keys=True) for messages in observations}
    if len(system) != 1 or system == {"[]"}:
        raise SettingsError(
            f"the calls have {len(system)} different system messages, and only one that all have can be left out",
            hint="Name one agent with --agent, or leave out --prune.",
        )
    rest = [json.dumps([m for m in messages if m["role"] != "system"]) for messages in observations]
    digest = sha256(system.pop().encode()).hexdigest()[:16]
    return rows.with_columns(observation=pl.Series(rest, dtype=pl.String)), digest
