"""Logged episodes and their calls as the trainer sees them; what is known of each is its rung of `etl.evidence`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etl.schema import Evidence, SetAside

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

    evidence: Evidence = Evidence.EXACT

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
