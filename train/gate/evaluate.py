"""Judges a checkpoint on held-out calls it never saw: what they would earn under it, against what is live."""

import gc
from collections.abc import Sequence as Many
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from etl.schema import Evidence, Split
from foundation.errors import SettingsError, SpanloopError
from train.data.lineage import build_sequences
from train.data.logged import Logged
from train.data.reading import read_calls, read_transitions
from train.data.render import make_renderer
from train.engine.pack import collate
from train.engine.policy import SampledTokens, load_policy, packs, shares
from train.engine.sharing import plan_batches
from train.engine.truncation import Kept, Limits
from train.gate.estimate import Estimate, estimate
from train.gate.prompts import under_prompts_in_force
from train.gate.verdict import Likelihood, Verdict, judge
from train.losses.registry import ANY
from train.plan import read_limits, trainable_policies
from train.schema import Manifest, base_of, model_version, read_manifest, tokenizer_digests, weights_digest
from train.settings import Cluster, EvaluateConfig

Floats = NDArray[np.float64]

ENOUGH_EPISODES = 128
"""Held-out episodes from which older policies' calls, further away and worth less, are left out."""

MAX_LAG = 8
"""How many versions before the one it is compared with a policy may lie whose calls are used."""


def evaluate(config: EvaluateConfig) -> tuple[Manifest, dict[str, Any]]:
    """Return a checkpoint's manifest and the report of its gate; nothing is written."""
    manifest = read_manifest(config.checkpoint)
    digest = weights_digest(config.checkpoint)
    if digest != manifest.weights_digest:
        raise SpanloopError(
            f"the weights in {config.checkpoint} are not those of its manifest",
            hint="The directory was changed or damaged after it was written; train again.",
        )
    other, version = choose_other(config, manifest)
    rows, num_otherwise_prompted = under_prompts_in_force(read_transitions(config.data, Split.HELDOUT))
    found, set_aside = _find(rows, manifest, config, other=other, version=version)
    if num_otherwise_prompted:
        set_aside = {**set_aside, "other_prompt": num_otherwise_prompted}
    judgement = judge(found, config, set_aside=set_aside)
    is_accepted = judgement.verdict is Verdict.INCONCLUSIVE and config.inconclusive == "accept"
    return manifest, {
        "verdict": judgement.verdict.value,
        "passed": judgement.verdict is Verdict.PASSED or is_accepted,
        "reason": judgement.reason,
        "hint": judgement.hint,
        "compared_with": version,
        "weights_digest": digest,
        "evaluated_time": datetime.now(UTC).isoformat(),
        "estimate": _finite(asdict(found)) if isinstance(found, Estimate) else None,
        "likelihood": _finite(asdict(found)) if isinstance(found, Likelihood) else None,
        "set_aside": set_aside,
        "settings": config.model_dump(mode="json"),
    }


def choose_other(config: EvaluateConfig, manifest: Manifest) -> tuple[Path | None, str | None]:
    """Return the model a checkpoint is compared with, and its version: the one asked for, else its parent.

    The directory of a parent may be gone; then what acted has to speak by the log-probabilities on record.
    """
    if config.against is not None:
        if not ((base_of(config.against) or config.against) / "config.json").exists():
            raise SettingsError(f"--against {config.against} is not a model directory: it has no config.json")
        return config.against, model_version(config.against)
    trained_from = manifest.settings.get("model")
    places = [config.checkpoint.resolve().parent / str(manifest.parent)]
    places += [Path(str(trained_from))] if trained_from else []
    for place in places:
        if place.is_dir() and manifest.parent is not None and model_version(place) == manifest.parent:
            return place, manifest.parent
    return None, manifest.parent


def _find(
    rows: pl.DataFrame, manifest: Manifest, config: EvaluateConfig, *, other: Path | None, version: str | None
) -> tuple[Estimate | Likelihood | None, dict[str, int]]:
    """Return what the held-out calls of the agents it was trained for say, and why calls were set aside."""
    vocabulary_size, max_length = read_limits(config.checkpoint)
    limits: dict[str, Any] = {"vocabulary_size": vocabulary_size, "max_length": max_length, "agents": manifest.agents}
    lineage = trainable_policies(other, MAX_LAG) if other is not None else [version] if version else []
    # With the weights it is compared with at hand, what those left to sample from can be told.
    limits["own_version"] = version if other is not None else None
    limits["tokenizer"], _ = tokenizer_digests(config.checkpoint)
    policies = choose_versions(rows, lineage)
    logged = read_calls(newest(rows, config.most_episodes, policies=policies), **limits, policies=policies)
    set_aside = logged.count_set_aside()
    if logged.is_trained().any():
        return _estimate(logged, config, other=other, version=version), set_aside
    likely = read_calls(
        newest(rows, config.most_episodes),
        **limits,
        policies=None,
        admits=ANY - {Evidence.EXACT},
        render=make_renderer(base_of(config.checkpoint) or config.checkpoint),
    )
    return _likelihood(likely, config, other=other), set_aside


def newest(rows: pl.DataFrame, most: int | None, *, policies: frozenset[str] | None = None) -> pl.DataFrame:
    """Return the rows of the newest rewarded episodes, of these policies if any are named; all rows where none is."""
    if most is None:
        return rows
    key = ["project", "episode_id"]
    able = rows.filter(pl.col("outcome").is_not_null())
    if policies is not None:
        able = able.filter(pl.col("policy_version").is_in(policies))
    began = able.group_by(key).agg(pl.col("start_ns").max())
    chosen = began.sort("start_ns", *key, descending=True, nulls_last=True).head(most)
    return rows.join(chosen, on=key, how="semi", maintain_order="left") if len(chosen) else rows


def choose_versions(rows: pl.DataFrame, lineage: Many[str]) -> frozenset[str] | None:
    """Return the policies whose calls are judged by: the nearest of a lineage that have enough episodes together.

    None, for all, where no call names any of them: a model that is no checkpoint of ours may have been served under any
    name; then distance and effective share say whether the calls are its own.
    """
    sampled = rows.group_by("policy_version").agg(pl.struct("project", "episode_id").n_unique().alias("episodes"))
    episodes = {str(version): count for version, count in sampled.iter_rows() if version is not None}
    chosen, num_episodes = list[str](), 0
    for version in lineage:
        if version in episodes and num_episodes < ENOUGH_EPISODES:
            chosen.append(version)
            num_episodes += episodes[version]
    return frozenset(chosen) or None


def _estimate(logged: Logged, config: EvaluateConfig, *, other: Path | None, version: str | None) -> Estimate:
    judged = np.flatnonzero(logged.is_trained())
    calls = [logged.calls[index] for index in judged]
    kept = dict[int, Kept]()
    if other is not None:
        compared = score_calls(other, logged, config.tokens_per_batch, kept=kept)
    new = score_calls(config.checkpoint, logged, config.tokens_per_batch, kept=kept)
    acted = [call.behavior_logprobs.astype(np.float64) for call in calls]
    now = acted
    if other is not None:
        now = [compared[index] for index in judged]
        # What it sampled itself is measured by its own log-probabilities, so that the engine's rounding is no change.
        acted = [
            mine if call.policy_version is not None and call.policy_version == version else recorded
            for call, mine, recorded in zip(calls, now, acted, strict=True)
        ]
    episodes, episode = np.unique([call.episode for call in calls], return_inverse=True)
    tasks = [logged.episodes[index].task for index in episodes]
    changes = [new[index] - was for index, was in zip(judged, now, strict=True)]
    return estimate(
        np.array([(new[index] - was).sum() for index, was in zip(judged, acted, strict=True)]),
        np.array([(np.exp(change) - 1 - change).sum() for change in changes]),  # k3, of KL(other || new)
        np.array([logged.episodes[index].outcome for index in episodes]),
        episode,
        np.unique(tasks, return_inverse=True)[1],
        cluster=cluster_episodes(episodes.tolist(), logged, config.cluster),
        logprob=np.array([each.sum() for each in now]),
        num_tokens=np.array([len(call.response_ids) for call in calls]),
        confidence=config.confidence,
        log_ratio_other=np.array([(mine - was).sum() for mine, was in zip(now, acted, strict=True)]),
    )


def _likelihood(logged: Logged, config: EvaluateConfig, *, other: Path | None) -> Likelihood | None:
    """Return how likely the calls are whose episodes went no worse than the middle of what was given."""
    judged = np.flatnonzero(logged.is_trained())
    if not len(judged) or other is None:
        return None
    outcomes = np.array([logged.episodes[logged.calls[index].episode].outcome for index in judged])
    good = judged[outcomes >= (outcomes.max() + outcomes.min()) / 2]
    after, before = (score_calls(model, logged, config.tokens_per_batch) for model in (config.checkpoint, other))
    num_tokens = sum(len(after[index]) for index in good)
    return Likelihood(
        len(good),
        nll=float(-sum(after[index].sum() for index in good) / max(1, num_tokens)),
        nll_before=float(-sum(before[index].sum() for index in good) / max(1, num_tokens)),
    )


def cluster_episodes(episodes: list[int], logged: Logged, by: Cluster) -> NDArray[np.int64]:
    """Return for each episode the number of what counts as one observation with it.

    An episode without a user is one by itself.
    """
    if by == "episode":
        return np.array(episodes, dtype=np.int64)
    chosen = [logged.episodes[index] for index in episodes]
    if by == "task":
        names = [episode.task for episode in chosen]
    else:
        pairs = zip(episodes, chosen, strict=True)
        names = [f"episode {index}" if each.user is None else f"user {each.user}" for index, each in pairs]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


@torch.no_grad()
def score_calls(
    model: Path, logged: Logged, tokens_per_batch: int, *, kept: dict[int, Kept] | None = None
) -> list[Floats]:
    """Return the log-probabilities of every call's answer under a model; none for calls that are set aside.

    Of calls whose distribution was cut they are over what was left: by this model, and `kept` is told, unless it holds
    what another one left.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = SampledTokens(load_policy(model).to(device))
    sequences = build_sequences(logged.calls)
    temperature = np.array([call.temperature for call in logged.calls])
    found = [np.zeros(0)] * len(logged.calls)
    is_cut = any(call.truncation is not None and call.set_aside is None for call in logged.calls)
    limits = Limits.of([call.truncation for call in logged.calls], device=device) if is_cut else None
    budget = tokens_per_batch if packs(tokens.policy) else 1
    shared = shares(tokens.policy)
    for members in plan_batches([sequence.ids for sequence in sequences], budget, shared=shared):
        chosen = [sequences[member] for member in members]
        batch = collate(chosen, temperature, np.zeros(len(temperature)), device=device, shared=shared)
        if kept is not None and limits is not None:
            order = list(dict.fromkeys(batch.calls.tolist()))
            if any(call not in kept for call in order):
                left = tokens(*batch.inputs[:-1], None, limits[batch.calls])
                kept.update({call: left[(batch.calls == call).nonzero().squeeze(-1)] for call in order})
            batch = replace(batch, kept=Kept.joined([kept[call] for call in order]))
        logprobs = tokens(*batch.inputs)[0].double().cpu().numpy()
        calls = batch.calls.cpu().numpy()
        for call in np.unique(calls):
            found[call] = logprobs[calls == call]
    del tokens
    gc.collect()  # the next model is not held beside this one
    return found


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return numbers as JSON can hold them: null for what is not finite."""
    return {name: value if value is None or np.isfinite(value) else None for name, value in numbers.items()}
