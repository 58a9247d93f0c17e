"""What the ETL publishes: Parquet files under DATA/dataset, one directory a table.

    DATA/dataset/<table>/part-<window>-<digest>.parquet   never changed once written; digest of its content
    DATA/dataset/watermark.json                           which files are published, and how far the spans are processed
    DATA/dataset/runs/<run_id>.json                       report of each run; its counts reconcile

Publishing is the rename of watermark.json: read the files `table_files` returns and an episode is there once and whole,
whatever died when. Spans that arrive late make a later revision of their whole episode: it replaces the rows of the
earlier one, whichever file they were in.

Messages are JSON text in one canonical shape, whatever instrumentation wrote them:

    {"role": "system" | "user" | "assistant" | "tool", "text": str | null,
     "tool_calls": [{"id": str, "name": str, "arguments": object | str}],          assistant only
     "tool_call_id": str,                                                         tool only
     "reasoning": str, "refusal": str | null, "finish_reason": str | null}        output only

A missing reward, token id or log-probability is null, never 0 and never an empty list.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1

Columns = dict[str, str]
"""Column name to Polars type, spelled as in `polars.Schema`: `String`, `Int64`, `List(Int32)`, …"""

LLM_CALLS: Columns = {
    "project": "String",
    "trace_id": "String",
    "span_id": "String",
    "parent_span_id": "String",
    "episode_id": "String",
    "start_ns": "Int64",
    "end_ns": "Int64",
    "dialect": "String",
    "scope_name": "String",
    "api": "String",
    "agent": "String",
    "provider": "String",
    "model_requested": "String",
    "model_returned": "String",
    "streamed": "Boolean",
    "params": "String",
    "tools": "String",
    "input": "String",
    "output": "String",
    "choice": "Int32",
    "usage": "String",
    "response_id": "String",
    "previous_response_id": "String",
    "conversation_id": "String",
    "error": "String",
    "prompt_token_ids": "List(Int32)",
    "response_token_ids": "List(Int32)",
    "behavior_logprobs": "List(Float32)",
    "logprobs_mode": "String",
    "policy_version": "String",
    "tokenizer_digest": "String",
    "chat_template_digest": "String",
    "truncated": "Boolean",
    "merged_span_ids": "List(String)",
}

TOOL_CALLS: Columns = {
    "project": "String",
    "trace_id": "String",
    "span_id": "String",
    "parent_span_id": "String",
    "episode_id": "String",
    "start_ns": "Int64",
    "end_ns": "Int64",
    "dialect": "String",
    "agent": "String",
    "name": "String",
    "tool_call_id": "String",
    "arguments": "String",
    "result": "String",
    "error": "String",
    "caused_by_span_id": "String",
    "attribution_rule": "String",
}

REWARDS: Columns = {
    "project": "String",
    "trace_id": "String",
    "span_id": "String",
    "episode_id": "String",
    "judges": "String",
    "judged_trace_id": "String",
    "judged_span_id": "String",
    "names": "String",
    "name": "String",
    "value": "Float64",
    "label": "String",
    "explanation": "String",
    "source": "String",
    "time_ns": "Int64",
    "used": "Boolean",
    "reason": "String",
}

EPISODES: Columns = {
    "project": "String",
    "episode_id": "String",
    "session_id": "String",
    "trace_ids": "List(String)",
    "root_name": "String",
    "root_span_id": "String",
    "service_name": "String",
    "start_ns": "Int64",
    "end_ns": "Int64",
    "task_id": "String",
    "agents": "List(String)",
    "num_spans": "Int64",
    "num_transitions": "Int64",
    "outcome": "Float64",
    "is_complete": "Boolean",
    "stop_reason": "String",
    "revision": "Int64",
    "first_seq": "Int64",
    "split": "String",
    "split_group": "String",
    "split_signature": "List(Int64)",
}

TRANSITIONS: Columns = {
    "project": "String",
    "episode_id": "String",
    "trace_id": "String",
    "span_id": "String",
    "agent": "String",
    "step": "Int32",
    "task_id": "String",
    "revision": "Int64",
    "start_ns": "Int64",
    "end_ns": "Int64",
    "observation": "String",
    "tools": "String",
    "action": "String",
    "finish_reason": "String",
    "next_observation": "String",
    "next_span_id": "String",
    "done": "Boolean",
    "stop_reason": "String",
    "prompt_token_ids": "List(Int32)",
    "response_token_ids": "List(Int32)",
    "behavior_logprobs": "List(Float32)",
    "logprobs_mode": "String",
    "temperature": "Float64",
    "top_p": "Float64",
    "top_k": "Int64",
    "min_p": "Float64",
    "params": "String",
    "behavior_model": "String",
    "policy_version": "String",
    "tokenizer_digest": "String",
    "chat_template_digest": "String",
    "reward": "Float64",
    "reward_outcome": "Float64",
    "reward_step": "Float64",
    "reward_tool_status": "Float64",
    "reward_argument_schema": "Float64",
    "reward_output_format": "Float64",
    "reward_repetition": "Float64",
    "reward_retry": "Float64",
    "reward_waste": "Float64",
    "reward_user_reply": "Float64",
    "reward_latency": "Float64",
    "reward_tokens": "Float64",
    "reward_progress": "Float64",
    "signals": "String",
    "air_scale": "Float64",
    "outcome": "Float64",
    "return_": "Float64",
    "evidence": "String",
    "split": "String",
    "split_group": "String",
    "weight": "Float64",
    "user_id": "String",
    "session_id": "String",
}

REJECTED: Columns = {
    "project": "String",
    "trace_id": "String",
    "span_id": "String",
    "stage": "String",
    "reason": "String",
    "detail": "String",
}

TABLES: dict[str, Columns] = {
    "llm_calls": LLM_CALLS,
    "tool_calls": TOOL_CALLS,
    "rewards": REWARDS,
    "episodes": EPISODES,
    "transitions": TRANSITIONS,
    "rejected": REJECTED,
}


class Evidence(StrEnum):
    """What is known of how an action was sampled; training routes on it."""

    EXACT = "A"
    """Token ids, log-probabilities and sampling parameters."""

    IDS = "B"
    """Token ids only."""

    TEXT = "C"
    """Text of our own model family."""

    FOREIGN = "D"
    """Text of another model."""


class RejectReason(StrEnum):
    """Why a model call is no transition; the column `reason` of `rejected`, where its stage is `transitions`."""

    FAILED = "call_failed"
    """It ended in an error without an answer, so there is no action."""

    NO_OBSERVATION = "no_observation"
    """Neither its messages nor its prompt's token ids are recorded."""

    NO_ACTION = "no_action"
    """Neither its answer nor the answer's token ids are recorded."""

    MISMATCH = "ids_are_not_the_text"
    """The answer's token ids, decoded by the tokenizer of the settings, are another text than the recorded one."""

    IMPOSSIBLE_IDS = "ids_out_of_range"
    """A token id is negative, or larger than any vocabulary."""

    EMBEDDING = "embedding"
    """It asked for vectors, not for an answer."""

    RETRIED = "retried"
    """Another answer took its place: it came to nothing inside a client, or the agent asked again and left it."""

    EVALUATOR = "evaluator"
    """A judge or grader made it, not the agent."""

    EXCLUDED = "excluded"
    """The settings exclude its agent, or a span above it, by name."""

    ATTRIBUTES_DROPPED = "attributes_dropped"
    """The SDK dropped attributes or events of its span, and its messages may have been among them."""

    VALUES_CUT = "values_cut"
    """A value that holds its messages was cut off."""

    LEFT_EARLY = "answer_left_early"
    """Nobody read its answer to the end: what else the policy would have said is not known."""

    NOT_UNDERSTOOD = "not_understood"
    """A message holds something that no decoder knows."""

    HISTORY_ELSEWHERE = "history_not_at_hand"
    """It continues a response or conversation that the provider or the recorder holds and no span here has."""

    RESULT_WITHOUT_CALL = "result_without_call"
    """Its request holds a tool's result, and no call before it that asked for it: messages are missing."""

    CALL_MISSING = "tool_call_missing"
    """Its answer ended to call a tool, and no tool call is recorded."""

    TEXT_MISSING = "text_missing"
    """Its answer counts tokens of which nothing is recorded."""


class Split(StrEnum):
    """Which side of the hold-out a task is on."""

    TRAIN = "train"
    HELDOUT = "heldout"


def dataset_directory(data: Path, table: str) -> Path:
    """Return the directory of one published table."""
    return data / "dataset" / table


def watermark_path(data: Path) -> Path:
    """Return the path of the file that says what is published."""
    return data / "dataset" / "watermark.json"


def read_watermark(data: Path) -> dict[str, Any] | None:
    """Return what is published, or None when no run has finished yet.

    Keys: `schema_version`; `received_seq`, the last request whose spans are processed; `windows`, in order of
    processing, each with `window` (`<first>-<last>` received_seq), its `since_seq` and `until_seq` and its `files` by
    table; `pending`, the [project, trace_id] of traces that were not complete yet.
    """
    try:
        watermark: dict[str, Any] = json.loads(watermark_path(data).read_bytes())
    except FileNotFoundError:
        return None
    return watermark


def table_files(data: Path, table: str) -> list[Path]:
    """Return the published files of one table, oldest window first; empty when there are none yet."""
    watermark = read_watermark(data)
    if watermark is None:
        return []
    directory = dataset_directory(data, table)
    return [directory / name for window in watermark["windows"] for name in window["files"].get(table, ())]
