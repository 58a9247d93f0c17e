"""What a run will learn from: sequences, one advantage a call, and the counts that justify both. No tensors."""

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from etl.schema import Evidence, SetAside, Split
from foundation.errors import GateRefused, SettingsError, SpanloopError
from train.credit.advantages import NO_SPREAD
from train.credit.assignment import credit_calls
from train.data.admission import disown
from train.data.feedback import hindsight, read_feedback
from train.data.heldout import hold_out
from train.data.lineage import Sequence, build_sequences
from train.data.logged import Logged
from train.data.reading import count_evidence, read_calls, read_transitions
from train.data.render import make_prompt, make_renderer
from train.losses.routing import Route, admitted, route_calls
from train.schema import (
    CREDIT_FILE,
    MANIFEST,
    PRUNED,
    Manifest,
    base_of,
    model_version,
    read_manifest,
    tokenizer_digests,
)
from train.settings import TrainConfig


@dataclass(frozen=True)
class Plan:
    """Everything an update needs but the model."""

    logged: Logged
    sequences: list[Sequence]
    advantages: NDArray[np.float64]
    """Of each call, as its loss takes it; 0 where its episode has no outcome."""

    route: Route
    """The loss of each call."""

    facts: dict[str, Any]
    """Counts for the report."""

    heldout: list[Sequence] = field(default_factory=list)
    """Of the tasks that are kept out of training; `sequences` are of the others."""

    heldout_calls: tuple[int, ...] = ()
    """Those of their calls that would have been learned from: what is measured after every pass."""

    hindsight: list[Sequence] = field(default_factory=list)
    """Answers of which something was said, after prompts that tell it; none where `feedback` is 0."""

    values: NDArray[np.float64] | None = None
    """What each call could expect, and below what came, where the baseline is a value."""

    returns: NDArray[np.float64] | None = None

    targets: NDArray[np.float64] | None = None
    """Of each call: the return its advantage is of, which a token critic learns to foresee."""

    credited: NDArray[np.float64] | None = None
    """Advantage of each call before its loss took it."""

    versions: tuple[str, ...] = ()
    """Versions of the model and its ancestors, nearest first, whose calls are trained."""

    @cached_property
    def calls_by_episode(self) -> dict[int, list[int]]:
        """The indices of the calls of each episode, trained or not."""
        found: dict[int, list[int]] = {}
        for index, call in enumerate(self.logged.calls):
            found.setdefault(call.episode, []).append(index)
        return found

    def lag_of(self, call: int) -> int | None:
        """Return how many versions before the model in training the one lies that sampled a call; null if unknown."""
        version = self.logged.calls[call].policy_version
        return self.versions.index(version) if version in self.versions else None

    @property
    def temperature(self) -> NDArray[np.float64]:
        """Sampling temperature of each call."""
        return np.array([call.temperature for call in self.logged.calls])

    def episode_sequences(self) -> list[list[int]]:
        """Return for each episode that trains at least one token the indices of its sequences."""
        found: dict[int, list[int]] = {}
        for index, sequence in enumerate(self.sequences):
            found.setdefault(self.episode_of(sequence), []).append(index)
        return list(found.values())

    def own_sequences(self) -> list[Sequence]:
        """Return the sequences the model or a near ancestor sampled; on text of others no distance can be measured."""
        own = {Evidence.EXACT, Evidence.RESCORED, Evidence.IDS, Evidence.CUT}
        calls = self.logged.calls
        return [each for each in self.sequences if all(calls[int(index)].evidence in own for index in each.calls)]

    def episode_of(self, sequence: Sequence) -> int:
        """Return the index of the episode a sequence belongs to."""
        return self.logged.calls[int(sequence.calls[0])].episode


def read_limits(model: Path) -> tuple[int, int]:
    """Return vocabulary size and number of positions of a model directory, without opening its weights.

    Those of an adapter are its base's.
    """
    path = (base_of(model) or model) / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        why = "it is no directory" if model.exists() and not model.is_dir() else f"no config.json ({error.strerror})"
        raise SettingsError(
            f"{model} is not a model directory: {why}",
            hint="--model takes a directory as transformers' save_pretrained writes it, or a checkpoint of ours.",
        ) from None
    except ValueError as error:
        raise SpanloopError(f"{path} is damaged: {error}") from error
    text = config.get("text_config", config)
    try:
        return int(text["vocab_size"]), int(text["max_position_embeddings"])
    except KeyError as error:
        raise SettingsError(f"{path} does not say {error}: this is no language model we can train") from None


def trainable_policies(model: Path, max_version_lag: int) -> list[str]:
    """Return the versions of a model and its ancestors, nearest first, as far back as the lag allows.

    An ancestor is known by its name in the manifest of its child; its own ancestors only while its directory is there.
    """
    versions = [model_version(model)]
    directory = model
    while len(versions) <= max_version_lag and (directory / MANIFEST).exists():
        parent = read_manifest(directory).parent
        if parent is None:
            break
        versions.append(parent)
        directory = directory.resolve().parent / parent
    return versions


def read_imitated(model: Path) -> pl.DataFrame:
    """Return project, episode and span of the text that a checkpoint and those it comes from were trained on.

    An ancestor tells only while its directory is there, pruned or not.
    """
    found = list[pl.DataFrame]()
    directory = model
    while manifest := next((path for name in (MANIFEST, PRUNED) if (path := directory / name).exists()), None):
        if (directory / CREDIT_FILE).exists():
            credit = pl.scan_parquet(directory / CREDIT_FILE)
            is_text = pl.col("known").is_in([Evidence.TEXT.value, Evidence.FOREIGN.value]) & (pl.col("weight") > 0)
            found.append(credit.filter(is_text).select("project", "episode_id", "span_id").collect())
        parent = Manifest.model_validate_json(manifest.read_bytes()).parent
        if parent is None:
            break
        directory = directory.resolve().parent / parent
    return pl.concat(found).unique() if found else pl.DataFrame()


def leave_out_imitated(rows: pl.DataFrame, imitated: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Leave out the rows known as text that were imitated before; return the others, in order, and their number."""
    if imitated.is_empty():
        return rows, 0
    key = ("project", "episode_id", "span_id")
    seen = rows.select(key).join(imitated.with_columns(seen=True), on=key, how="left", maintain_order="left")["seen"]
    is_old = seen.fill_null(False) & rows["prompt_token_ids"].is_null()
    return rows.filter(~is_old), int(is_old.sum())


def choose_policies(rows: pl.DataFrame, model: Path, versions: list[str]) -> frozenset[str] | None:
    """Return the policy versions whose calls are trained, or None for all of them; `versions` are those that may be.

    A model that is no checkpoint of ours may have been served under any name: when no row names it, all rows pass, and
    the comparison of log-probabilities at the start of the run decides whether they are its own.
    """
    if not (model / MANIFEST).exists() and not set(versions) & set(rows["policy_version"].drop_nulls().unique()):
        return None
    return frozenset(versions)


def make_plan(config: TrainConfig, *, vocabulary_size: int, max_length: int) -> Plan:
    """Read the training split and give every trainable call its advantage; refuse when there is too little of it."""
    if not config.data.is_dir():
        raise SettingsError(
            f"{config.data} is no directory", hint="--data takes the directory that etl run publishes to."
        )
    rows = read_transitions(config.data, Split.TRAIN, since=config.since)
    imitated = pl.DataFrame() if config.again else read_imitated(config.model)
    rows, num_imitated = leave_out_imitated(rows, imitated)
    versions = trainable_policies(config.model, config.max_version_lag)
    tokenizer, _ = tokenizer_digests(config.model)
    logged = read_calls(
        rows,
        vocabulary_size=vocabulary_size,
        max_length=max_length,
        agents=config.agents,
        policies=choose_policies(rows, config.model, versions),
        own_version=_own_version(config.model),
        tokenizer=tokenizer,
        admits=admitted(config.loss),
        render=make_renderer(base_of(config.model) or config.model)
        if _is_text(disown(rows, tokenizer=tokenizer, versions=frozenset(versions)))
        else None,
    )
    credit = credit_calls(logged, config)
    route, advantages = route_calls(logged, credit.advantages, loss=config.loss, negative=config.negative)
    sequences = build_sequences(logged.calls)
    facts = _count(logged, sequences, advantages * (route.weight > 0))
    teaching = (route.weight > 0) & (advantages > 0)
    is_kept_out = hold_out(logged, teaching, share=config.heldout_share)
    heldout_calls = tuple(int(index) for index in np.flatnonzero(teaching & is_kept_out))
    told = _tell(config, logged, rows, max_length=max_length) if config.feedback else []
    facts |= {"num_heldout_calls": len(heldout_calls), "num_feedback_calls": len(told)}
    plan = Plan(
        logged,
        [each for each in sequences if not is_kept_out[each.calls[0]]],
        advantages,
        route.without(is_kept_out),
        facts
        | credit.facts
        | {"num_imitated_before": num_imitated, "evidence": count_evidence(rows), "routes": route.table},
        heldout=[each for each in sequences if is_kept_out[each.calls[0]]],
        heldout_calls=heldout_calls,
        hindsight=told,
        values=credit.values,
        returns=credit.returns,
        targets=credit.targets,
        credited=credit.advantages,
        versions=tuple(versions),
    )
    _refuse_too_little(plan, rows, config)
    return plan


def _tell(config: TrainConfig, logged: Logged, rows: pl.DataFrame, *, max_length: int) -> list[Sequence]:
    """Return the answers of which something was said; refuse where there is none, since that was what was asked for."""
    prompt = make_prompt(base_of(config.model) or config.model)
    told = hindsight(logged, rows, read_feedback(config.data), prompt, max_length=max_length)
    if not told:
        raise GateRefused(
            f"nothing was said in words of any trainable call in {config.data}",
            hint="Give scores an explanation, or leave out --feedback; a template must write the prompts that tell it.",
        )
    return told


def _own_version(model: Path) -> str | None:
    """Return the policy version of a model, null where there are no weights to know it by."""
    return model_version(model) if (model / MANIFEST).exists() or any(model.glob("*.safetensors")) else None


def _is_text(rows: pl.DataFrame) -> bool:
    """Tell whether any row is known as text only."""
    return bool(rows.select((pl.col("prompt_token_ids").is_null() & pl.col("action").is_not_null()).any()).item())


def _count(logged: Logged, sequences: list[Sequence], advantages: NDArray[np.float64]) -> dict[str, Any]:
    outcomes = np.array([episode.outcome for episode in logged.episodes])
    trained = np.array([call.set_aside is None for call in logged.calls], dtype=bool)
    by_task: dict[str, list[float]] = {}
    for episode in logged.episodes:
        if np.isfinite(episode.outcome):
            by_task.setdefault(episode.task, []).append(episode.outcome)
    informative = {
        call.episode
        for call, is_trained, advantage in zip(logged.calls, trained, advantages, strict=True)
        if is_trained and abs(advantage) > NO_SPREAD
    }
    episodes = {call.episode for call, is_trained in zip(logged.calls, trained, strict=True) if is_trained}
    rewarded = outcomes[sorted(episodes)] if episodes else np.zeros(0)
    call_tokens = sum(
        len(call.prompt_ids) + len(call.response_ids)
        for call, is_trained in zip(logged.calls, trained, strict=True)
        if is_trained
    )
    return {
        "num_episodes": len(logged.episodes),
        "num_rewarded": int(np.isfinite(outcomes).sum()),
        "num_tasks": len({episode.task for episode in logged.episodes}),
        "num_repeated_tasks": sum(len(group) > 1 for group in by_task.values()),
        "num_varied_tasks": sum(max(group) - min(group) > NO_SPREAD for group in by_task.values()),
        "num_calls": len(logged.calls),
        "num_trained_episodes": len(episodes),
        "num_informative_episodes": len(informative),
        "num_trained_calls": int(trained.sum()),
        "set_aside": {
            reason.value: count
            for reason in SetAside
            if (count := sum(call.set_aside is reason for call in logged.calls))
        },
        "num_sequences": len(sequences),
        "sequence_starts": dict(Counter(sequence.start.value for sequence in sequences)),
        "num_trained_tokens": sum(sequence.num_trained for sequence in sequences),
        "num_sequence_tokens": sum(len(sequence.ids) for sequence in sequences),
        "num_call_tokens": call_tokens,
        "mean_outcome": float(rewarded.mean()) if len(rewarded) else None,
        "has_spread": bool(len(rewarded) and np.ptp(rewarded) > NO_SPREAD),
    }


def _refuse_too_little(plan: Plan, rows: pl.DataFrame, config: TrainConfig) -> None:
    facts = plan.facts
    enough = (
        facts["num_trained_episodes"] >= config.min_episodes
        and facts["num_informative_episodes"] >= config.min_informative
    )
    if enough:
        return
    needed = f"of at least {config.min_episodes} (min_episodes)"
    wanted = f"of at least {config.min_informative} (min_informative), those with an advantage"
    tasks = f"{facts['num_repeated_tasks']} attempted more than once, {facts['num_varied_tasks']} with varied outcomes"
    lines = [
        f"too little to learn from in {config.data}:",
        f"  trainable episodes    {facts['num_trained_episodes']} {needed}",
        f"  informative episodes  {facts['num_informative_episodes']} {wanted}",
        f"  episodes read         {facts['num_episodes']}, {facts['num_rewarded']} with an outcome",
        f"  tasks                 {facts['num_tasks']}, {tasks}",
        f"  rows by evidence      {_listed(facts['evidence'])}; {config.loss} trains {_admits(config)}",
        f"  calls set aside       {_listed(facts['set_aside'])}",
    ]
    if facts["set_aside"].get(SetAside.OTHER_POLICY):
        versions = Counter(rows["policy_version"].drop_nulls().to_list())
        lines.append(f"  policy versions       {_listed(dict(versions.most_common(5)))}")
    raise GateRefused("\n".join(lines), hint=_way_out(facts, agents=sorted({call.agent for call in plan.logged.calls})))


def _admits(config: TrainConfig) -> str:
    return ", ".join(sorted(known.value for known in admitted(config.loss)))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _way_out(facts: dict[str, Any], *, agents: list[str]) -> str:
    set_aside = facts["set_aside"]
    if facts["num_imitated_before"] > facts["num_trained_calls"]:
        return (
            f"{facts['num_imitated_before']} calls known as text were imitated before by this model or one it comes "
            "from: wait for new ones, or repeat them with --again."
        )
    if not facts["num_episodes"]:
        return "Publish transitions first: spanloop etl run --data DIR"
    if facts["num_rewarded"] < facts["num_episodes"] / 2:
        return "Most episodes have no outcome: give one with otel_exporter.reward(value) or POST /v1/rewards."
    if set_aside.get(SetAside.OTHER_AGENT, 0) > facts["num_trained_calls"]:
        named = ", ".join(name or "(no name)" for name in agents[:10])
        return f"Most calls are of agents that --agents leaves out: the data has {named}."
    if set_aside.get(SetAside.MALFORMED, 0) > facts["num_trained_calls"]:
        return (
            "Most calls have token ids or log-probabilities that fit neither each other nor the model: "
            "--model must be of the tokenizer that sampled them, and whatever recorded them may need mending."
        )
    if set_aside.get(SetAside.OTHER_TOKENIZER, 0) > facts["num_trained_calls"]:
        return "Most calls carry ids of another tokenizer: train the model that sampled them, or record their text too."
    if set_aside.get(SetAside.OTHER_POLICY, 0) > facts["num_trained_calls"]:
        return (
            "Most calls were sampled by other policies: train the model that was serving, or raise --max-version-lag."
        )
    if set_aside.get(SetAside.NOT_EXACT, 0) > facts["num_trained_calls"]:
        return (
            "Most calls lack token ids and log-probabilities: let the agents ask through the gateway (spanloop serve)."
        )
    if facts["mean_outcome"] is not None and not facts["has_spread"]:
        return (
            "All outcomes are alike, so nothing went better than expected: rewards that tell good from bad teach, or "
            "--recipe imitate, which takes all that was rewarded."
        )
    if not facts["num_repeated_tasks"]:
        return "No task was attempted twice: set spanloop.task.id, or compare across tasks with --baseline value."
    return "Wait for more traffic, or lower the limits named above."
