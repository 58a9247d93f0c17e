"""Makes the transitions of one episode from its calls, and says why a call is none (`reject`).

A transition is observation, action, next observation, rewards, evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from etl.dialects.shapes.values import integer_of, number_of
from etl.dialects.spans import LlmCall
from etl.episodes.grouping import Episode
from etl.episodes.lineage import next_calls
from etl.episodes.splits import Side
from etl.episodes.tasks import task_ids
from etl.evidence import Grade
from etl.rewards import air
from etl.rewards.combine import combine
from etl.schema import NOT_TAKEN, TRANSITIONS, Columns, RejectReason
from etl.settings import EtlConfig
from etl.tables import IS_TAKEN, Row, json_text

CUT_OFF = {"length", "max_tokens", "max_output_tokens", "incomplete"}
"""Finish reasons that say the answer was cut at its token limit."""

FROM_CALL = {
    "trace_id": "trace_id",
    "span_id": "span_id",
    "agent": "agent",
    "start_ns": "start_ns",
    "end_ns": "end_ns",
    "observation": "input",
    "media": "media",
    "tools": "tools",
    "params": "params",
    **{
        name: name
        for name in (
            "prompt_token_ids",
            "response_token_ids",
            "behavior_logprobs",
            "logprobs_mode",
            "policy_version",
            "tokenizer_digest",
            "chat_template_digest",
            "prompt_name",
            "prompt_version",
        )
    },
}
"""Columns of a transition that are columns of its call in `llm_calls`."""

FROM_NEXT_CALL = {"next_observation": "input", "next_span_id": "span_id"}

TRANSITION_COLUMNS: Columns = {
    "call": "Int64",
    "next_call": "Int64",
    "has_offer": "Boolean",
    "own_response_token_ids": "List(Int32)",
    "own_behavior_logprobs": "List(Float32)",
    **{name: kind for name, kind in TRANSITIONS.items() if name not in {*FROM_CALL, *FROM_NEXT_CALL}},
}
"""What rows of transitions are built in: their own columns, and where their calls are in `llm_calls`."""


SIGNAL_COLUMNS = {name: f"reward_{name}" for name in air.SIGNALS}


@dataclass(frozen=True, slots=True)
class Signals:
    """What the rewards' side knows of an episode's calls, by row."""

    outcome: float | None
    steps: dict[int, float]
    measures: air.Measures
    weights: Mapping[str, float]
    side: Side
    gap: float
    """Smallest difference between outcomes that intermediate rewards must not bridge."""


def reject(call: LlmCall, *, is_retried: bool = False, is_mismatch: bool = False) -> RejectReason | None:
    """Return why an agent's call is no transition, or None when it is one."""
    if is_retried:
        return RejectReason.RETRIED
    if is_mismatch:
        return RejectReason.MISMATCH
    if (not _says_anything(call.input) or "input" in call.pieced) and call.prompt_token_ids is None:
        return RejectReason.NO_OBSERVATION
    if "output" in call.pieced and call.response_token_ids is None:
        return RejectReason.NO_ACTION
    if call.output is None and call.response_token_ids is None:
        return RejectReason.FAILED if call.error is not None else RejectReason.NO_ACTION
    if not call.output or (call.response_token_ids is None and not _says_anything(call.output)):
        return RejectReason.NO_ACTION
    return min(call.incomplete, key=list(RejectReason).index, default=None)


def _says_anything(messages: list[dict[str, Any]] | None) -> bool:
    """Tell whether there is anything in them; the empty text is: the model chose to end."""
    return any(
        message.get(key) not in (None, [])
        for message in messages or ()
        for key in ("text", "tool_calls", "refusal", "reasoning", "media")
    )


def build_transitions(
    episode: Episode,
    calls: list[LlmCall],
    agent_rows: dict[int, int],
    signals: Signals,
    config: EtlConfig,
    revision: int,
    positions: dict[int, int],
    call_rows: Sequence[Row],
    others: Mapping[int, Sequence[LlmCall]],
) -> list[dict[str, Any]]:
    """Return the rows of one episode in `TRANSITION_COLUMNS`; `calls` are its transitions in the order they began.

    `call_rows` are the rows of `llm_calls`, and `positions` says where in them the call of a span's row is. `others`
    are the choices, by row, that were not gone on from and are to be transitions as well.
    """
    following = next_calls(calls, agent_rows)
    rows = [call.span.index for call in calls]
    measured = [air.measures_of(signals.measures, row) for row in rows]
    parts = [air.weighted(own, signals.weights) for own in measured]
    totals = [sum(part.values()) if part else None for part in parts]
    steps = [signals.steps.get(row) for row in rows]
    combined = combine(signals.outcome, steps, totals, outcome_gap=signals.gap, discount=config.discount)
    tasks = task_ids(episode, calls)
    last = len(calls) - 1
    made = [
        {
            "project": episode.key[0],
            "episode_id": episode.key[1],
            "call": positions[row],
            "own_response_token_ids": None,
            "own_behavior_logprobs": None,
            "next_call": positions[following[row].span.index] if row in following else None,
            "step": step,
            "task_id": tasks[call.agent],
            "revision": revision,
            "has_offer": "tools" not in call.pieced,
            "action": _action(call, call_rows[positions[row]]["output"]),
            "choice": call.choice,
            "finish_reason": call.answer["finish_reason"] if call.answer is not None else None,
            "done": row not in following,
            "stop_reason": _stop_reason(call, episode) if row not in following else None,
            **_sampling(call),
            "behavior_model": call.model_returned or call.model_requested,
            "reward": combined.reward[step],
            "reward_outcome": signals.outcome if step == last else None,
            "reward_step": steps[step],
            **{column: parts[step].get(name) for name, column in SIGNAL_COLUMNS.items()},
            "signals": json_text(measured[step]),
            "air_scale": combined.air_scale,
            "outcome": signals.outcome,
            "return_": combined.return_[step],
            "evidence": grade(call, config).value,
            "split": signals.side.split.value,
            "split_group": signals.side.group,
            "user_id": episode.user,
            "session_id": episode.session,
        }
        for step, (row, call) in enumerate(zip(rows, calls, strict=True))
    ]
    return [
        row
        for taken, call in zip(made, calls, strict=True)
        for row in (
            taken,
            *(_not_taken(taken, other, signals.weights, config) for other in others.get(call.span.index, ())),
        )
    ]


def _not_taken(taken: dict[str, Any], call: LlmCall, weights: Mapping[str, float], config: EtlConfig) -> dict[str, Any]:
    """Return the row of a choice that was not gone on from: what can be said of the answer alone, and no outcome."""
    measured = air.of_answer(call)
    parts = air.weighted(measured, weights)
    own = sum(parts.values()) * taken["air_scale"] if parts else None
    return {
        **taken,
        "next_call": None,
        "own_response_token_ids": call.response_token_ids,
        "own_behavior_logprobs": call.behavior_logprobs,
        "action": json_text(call.answer),
        "choice": call.choice,
        "finish_reason": call.answer["finish_reason"] if call.answer is not None else None,
        "done": True,
        "stop_reason": NOT_TAKEN,
        "reward": own,
        "reward_outcome": None,
        "reward_step": None,
        **{column: parts.get(name) for name, column in SIGNAL_COLUMNS.items()},
        "signals": json_text(measured),
        "outcome": None,
        "return_": own,
        "evidence": grade(call, config).value,
    }


def with_calls(own: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Return transitions in their published columns, with those of their calls, which are named by row number."""
    first = calls.select(pl.col(source).alias(name) for name, source in FROM_CALL.items())[own["call"]]
    following = calls.select(
        pl.col(source).gather(own["next_call"]).alias(name) for name, source in FROM_NEXT_CALL.items()
    )
    whole = pl.concat([own, first, following], how="horizontal")
    return whole.with_columns(
        tools=pl.when("has_offer").then("tools"),
        **{
            name: pl.when(IS_TAKEN).then(name).otherwise(f"own_{name}")
            for name in ("response_token_ids", "behavior_logprobs")
        },
    ).select(*TRANSITIONS)


def _action(call: LlmCall, output: str | None) -> str | None:
    """Return the answer as JSON text; `output` is the text of all choices."""
    if not call.output or output is None:
        return None
    return output[1:-1] if len(call.output) == 1 else json_text(call.answer)


def _stop_reason(call: LlmCall, episode: Episode) -> str:
    if call.error is not None:
        return "error"
    if call.answer is not None and call.answer["finish_reason"] in CUT_OFF:
        return "length"
    return "end" if episode.is_complete else "incomplete"


UNKNOWN_SAMPLING = dict.fromkeys(("temperature", "top_p", "top_k", "min_p"))


def _sampling(call: LlmCall) -> dict[str, Any]:
    if not call.params:
        return UNKNOWN_SAMPLING
    return {
        "temperature": number_of(call.params, "temperature"),
        "top_p": number_of(call.params, "top_p"),
        "top_k": integer_of(call.params, "top_k"),
        "min_p": number_of(call.params, "min_p"),
    }


def grade(call: LlmCall, config: EtlConfig) -> Grade:
    """Say what is on record of how the action was sampled."""
    if call.prompt_token_ids is not None and call.response_token_ids is not None:
        logprobs = call.behavior_logprobs
        exact = logprobs is not None and len(logprobs) == len(call.response_token_ids)
        return Grade.A if exact and "temperature" in call.params else Grade.B
    model = call.model_returned or call.model_requested or ""
    is_own = call.policy_version is not None or any(model.startswith(own) for own in config.own_models)
    return Grade.C if is_own else Grade.D
