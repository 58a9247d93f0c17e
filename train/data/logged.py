"""Logged episodes and their calls as the trainer sees them, and the one ladder of what is known of a call.

The ETL says what was recorded (`etl.schema.Evidence`). `Known` says what the model in training can make of that, from
the log-probabilities of the very distribution down to the text of a stranger; each rung admits fewer losses. A call
below what the loss needs, or one that cannot be read, is context only, and `SetAside` says why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Known(StrEnum):
    """What is known of how a call was sampled, as the model in training sees it; losses are chosen by it."""

    EXACT = "exact"
    """Ids and the log-probabilities of the very distribution they were drawn from (evidence A)."""

    RESCORED = "rescored"
    """Ids sampled by the model in training: it can say the log-probabilities itself (evidence B)."""

    IDS = "ids"
    """Ids sampled by an ancestor of the model (evidence B)."""

    CUT = "cut"
    """Ids, but the distribution was greedy, masked, or cut by weights that are not at hand, and what was left of it is
    not on record (evidence A or B)."""

    TEXT = "text"
    """Text of our own model family, rendered with the model's template (evidence C)."""

    FOREIGN = "foreign"
    """Text of another model (evidence D), or ids of our tokenizer by a policy nobody knows (B)."""


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

    OTHER_TOKENIZER = "other_tokenizer"
    """Its ids are of another tokenizer, or of one nobody named, and there is no text to make ours of."""

    GREEDY = "greedy"
    """Temperature 0: nothing was sampled, so nothing else had a probability."""

    TRUNCATED_SAMPLING = "truncated_sampling"
    """top_p, top_k or min_p cut the distribution by weights that are not at hand: which tokens were left is unknown."""

    RAW_LOGPROBS = "raw_logprobs"
    """Log-probabilities from before temperature and truncation, by weights that are not at hand."""

    MASKED = "masked"
    """A grammar, bias or penalty moved the distribution in ways that neither ids nor sampling parameters tell."""

    MALFORMED = "malformed"
    """Ids and log-probabilities of unequal length, none at all, ids outside the vocabulary, or no temperature."""

    TOO_LONG = "too_long"
    """More tokens than the model has positions."""


Render = Callable[[str | None, str | None, str], tuple[list[int], list[int]] | None]
"""Observation, tools and action as JSON text to the ids of prompt and response, null where they do not read back."""


@dataclass(frozen=True)
class Truncation:
    """What was left of a distribution to sample from, after temperature; in vLLM's order, the last one first."""

    top_p: float = 1.0
    top_k: int = 0
    """0 for all."""

    min_p: float = 0.0


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

    next_span_id: str | None = None
    """The call its agent made next, as recorded."""

    truncation: Truncation | None = None
    """Null where all of the distribution was left."""


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
