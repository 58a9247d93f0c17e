"""Names the task of an episode, so that several attempts at one task are known as such."""

from hashlib import sha256
from typing import Any

import orjson

from etl.calls.likeness import message_signature
from etl.dialects.spans import LlmCall
from etl.episodes.grouping import Episode


def task_ids(episode: Episode, calls: list[LlmCall]) -> dict[str | None, str]:
    """Return the task id of every role: the explicit one, else a hash of the role's first observation."""
    tasks: dict[str | None, str] = {}
    for call in calls:
        if call.agent not in tasks:
            tasks[call.agent] = episode.task_id or observation_hash(call)
    return tasks


def observation_hash(call: LlmCall) -> str:
    """Return a digest of the agent and of what it was shown."""
    if call.input:
        seen: Any = [message_signature(message) for message in call.input]
    else:
        seen = None if call.prompt_token_ids is None else call.prompt_token_ids.tolist()
    return sha256(orjson.dumps([call.agent, seen], default=str)).hexdigest()[:16]
