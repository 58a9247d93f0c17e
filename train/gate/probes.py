"""Probes: a few sampled calls with the checkpoint's own log-probabilities, to tell its weights from its parent's."""

from collections.abc import Sequence as Many

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.lineage import Sequence, Start
from train.data.logged import Call
from train.engine.pack import collate
from train.engine.policy import SampledTokens
from train.schema import Probe

NUM_PROBES = 4
NUM_CANDIDATES = 32
MOST_TOKENS = 512
"""Of all candidates together, about: they are read before a run and after it, one by one, which a window of minutes
feels."""

MAX_TOKENS = 512
"""Probes are asked after every change of weights: they stay short."""


def choose_candidates(calls: Many[Call]) -> list[Call]:
    """Return some short trainable calls with prompts of their own, spread evenly over the log."""
    distinct: dict[bytes, Call] = {}
    for call in calls:
        if call.set_aside is None and len(call.prompt_ids) + len(call.response_ids) <= MAX_TOKENS:
            distinct.setdefault(call.prompt_ids.tobytes(), call)
    found = list(distinct.values())
    num_tokens = sum(len(call.prompt_ids) + len(call.response_ids) for call in found)
    number = min(NUM_CANDIDATES, max(NUM_PROBES, MOST_TOKENS * len(found) // max(1, num_tokens)))
    step = max(1, len(found) // number)
    return found[::step][:number]


@torch.no_grad()
def score(tokens: SampledTokens, calls: Many[Call], *, device: torch.device) -> list[NDArray[np.float64]]:
    """Return for each call the log-probabilities of its response ids at temperature 1, in the model's own precision."""
    scores = []
    for call in calls:
        ids = np.concatenate([call.prompt_ids, call.response_ids])
        index = np.where(np.arange(len(ids)) < len(call.prompt_ids), -1, 0)
        batch = collate(
            [Sequence(ids, index, np.zeros(len(ids), np.float32), Start.FIRST)], np.ones(1), np.zeros(1), device=device
        )
        logprobs, _, _ = tokens(*batch.inputs)
        scores.append(logprobs.double().cpu().numpy())
    return scores


def make_probes(calls: Many[Call], before: Many[NDArray[np.float64]], after: Many[NDArray[np.float64]]) -> list[Probe]:
    """Turn the candidates whose log-probabilities training moved most into probes: there stale weights show best."""
    moved = [-float(np.abs(new - old).mean()) for new, old in zip(after, before, strict=True)]
    chosen = sorted(np.argsort(moved, kind="stable")[:NUM_PROBES].tolist())
    return [
        Probe(
            prompt_token_ids=calls[index].prompt_ids.tolist(),
            response_token_ids=calls[index].response_ids.tolist(),
            logprobs=after[index].tolist(),
        )
        for index in chosen
    ]
