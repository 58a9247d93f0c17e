"""What the ETL publishes: Parquet files under DATA/dataset, one directory a table.

    DATA/dataset/<table>/part-<window>-<digest>.parquet   never changed once written; digest of its content
    DATA/dataset/watermark.json                           which files are published, and how far the spans are processed
    DATA/dataset/columns.json                             what every column means
    DATA/dataset/runs/<run_id>.json                       report of each run; its counts reconcile

Publishing is the rename of watermark.json: read the files `table_files` returns and an episode is there once and whole,
whatever died when. Spans that arrive late make a later revision of their whole episode: it replaces the rows of the
earlier one, whichever file they were in.

Messages are JSON text in one canonical shape, whatever instrumentation wrote them:

    {"role": "system" | "user" | "assistant" | "tool", "text": str | null,
     "tool_calls": [{"id": str, "name": str, "arguments": object | str}],          assistant only
     "tool_call_id": str,                                                         tool only
     "media": [str],                                                              its types; column `media` has them
     "reasoning": str, "refusal": str | null, "finish_reason": str | null}        output only

A missing reward, token id or log-probability is null, never 0 and never an empty list.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from etl import columns
from etl.evidence import Evidence as Evidence
from etl.evidence import Grade as Grade
from etl.evidence import SetAside as SetAside
from foundation.errors import SpanloopError
from foundation.state import is_whole

SCHEMA_VERSION = 1

Columns = dict[str, str]
"""Column name to Polars type, spelled as in `polars.Schema`: `String`, `Int64`, `List(Int32)`, …"""

TABLES: dict[str, Columns] = {
    table: {column.name: column.type for column in declared} for table, declared in columns.TABLES.items()
}
"""The published tables; `etl.columns` says what every column means."""

TRANSITIONS = TABLES["transitions"]

STORED = "dataset.json"
"""Key of what a store says is published: `watermark` as `read_watermark` has it, files `dataset/<table>/<name>`."""

NOT_TAKEN = "not_taken"
"""Stop reason of a choice that was not gone on from: a transition beside the one that was, with `--other-choices`."""


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

    REPLAYED = "replayed"
    """A replay made it (`spanloop.replay`), to try a model on what was logged."""

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

    CONTRADICTORY = "recordings_disagree"
    """Two recordings of its messages say different things, and nothing tells which of them was sent."""

    HISTORY_ELSEWHERE = "history_not_at_hand"
    """It continues a response or conversation that the provider or the recorder holds and no span here has."""

    RESULT_WITHOUT_CALL = "result_without_call"
    """Its request holds a tool's result, and no call before it that asked for it: messages are missing."""

    RESULT_MISSING = "tool_result_missing"
    """Its request goes on after a call of a tool without that tool's result, which no provider takes."""

    CALL_MISSING = "tool_call_missing"
    """Its answer ended to call a tool, and no tool call is recorded."""

    TEXT_MISSING = "text_missing"
    """Its answer counts tokens of which nothing is recorded, or may have had words that its library does not record."""

    INSTRUCTIONS_MISSING = "instructions_missing"
    """Its library records no instructions, and nothing shows that the request had none."""


class Split(StrEnum):
    """Which side of the hold-out a task is on."""

    TRAIN = "train"
    HELDOUT = "heldout"


def column_comments() -> dict[str, dict[str, str]]:
    """Return what every column of every published table means, as `DATA/dataset/columns.json` says it."""
    return {table: {column.name: column.description for column in own} for table, own in columns.TABLES.items()}


def dataset_directory(data: Path, table: str) -> Path:
    """Return the directory of one published table."""
    return data / "dataset" / table


def watermark_path(data: Path) -> Path:
    """Return the path of the file that says what is published."""
    return data / "dataset" / "watermark.json"


def columns_path(data: Path) -> Path:
    """Return the path of the file that says what every column means, for readers that know no Python."""
    return data / "dataset" / "columns.json"


def read_watermark(data: Path) -> dict[str, Any] | None:
    """Return what is published, or None when no run has finished yet.

    Keys: `schema_version`; `received_seq`, the last request whose spans are processed; `windows`, in order of
    processing, each with `window` (`<first>-<last>` received_seq), its `since_seq` and `until_seq` and its `files` by
    table; `pending`, the [project, trace_id] of traces that were not complete yet; `receivers`, where several are read,
    how far by URL: `received_seq` is their sum then.
    """
    path = watermark_path(data)
    try:
        watermark = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        watermark = None
    if (
        not isinstance(watermark, dict)
        or not isinstance(watermark.get("windows"), list)
        or (watermark.get("schema_version") == SCHEMA_VERSION and not is_whole(watermark))  # another has its own layout
    ):
        raise SpanloopError(
            f"{path} is damaged: it does not say what is published",
            hint="Put it back from a backup; or move dataset/ aside, and the next run makes all of it anew.",
        )
    return watermark


def check_layout(watermark: dict[str, Any], place: Path | str) -> None:
    """Raise `SpanloopError` for a watermark of another release's layout, which says where it is."""
    if watermark.get("schema_version") != SCHEMA_VERSION:
        raise SpanloopError(
            f"{place} has layout {watermark.get('schema_version')}, this release reads {SCHEMA_VERSION}",
            hint="Use the release that wrote it; or move dataset/ away, and the next run makes it anew from the spans.",
        )


def table_files(data: Path, table: str) -> list[Path]:
    """Return the published files of one table, oldest window first; empty when there are none yet.

    Raises `SpanloopError` for those of another release's layout.
    """
    watermark = read_watermark(data)
    if watermark is None:
        return []
    check_layout(watermark, watermark_path(data))
    directory = dataset_directory(data, table)
    return [directory / name for window in watermark["windows"] for name in window["files"].get(table, ())]
