"""Calls for tests, with defaults for whatever a test does not care about."""

import numpy as np

from etl.schema import Evidence, SetAside
from train.data.logged import Call


def call(
    prompt: list[int],
    response: list[int],
    *,
    episode: int = 0,
    agent: str = "agent",
    turn: int = 0,
    start_ns: int = 0,
    behavior_logprobs: list[float] | None = None,
    temperature: float = 1.0,
    set_aside: SetAside | None = None,
    evidence: Evidence = Evidence.EXACT,
    was_cut_short: bool = False,
) -> Call:
    """Return one call; its log-probabilities are -1 unless given."""
    return Call(
        span_id=f"{episode}-{agent}-{turn}-{start_ns}",
        agent=agent,
        episode=episode,
        turn=turn,
        start_ns=start_ns,
        end_ns=start_ns + 5,
        intermediate=0.0,
        set_aside=set_aside,
        prompt_ids=np.array(prompt, dtype=np.int64),
        response_ids=np.array(response, dtype=np.int64),
        behavior_logprobs=np.array(behavior_logprobs or [-1.0] * len(response), dtype=np.float32),
        temperature=temperature,
        policy_version=None,
        evidence=evidence,
        was_cut_short=was_cut_short,
    )
