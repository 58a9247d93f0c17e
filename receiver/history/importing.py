"""Imports exports: every row is read and put aside first, and all is stored once every file was good."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from foundation.errors import SettingsError
from otel_exporter.redaction import Redactor
from receiver.history import langfuse, langsmith, mlflow, openai, phoenix
from receiver.history.aside import Aside
from receiver.history.records import Record, Refused, Score, Vendor
from receiver.history.rows import Row, Unreadable, read_rows
from receiver.history.storing import store
from receiver.reading.opening import reading

VENDORS: dict[str, Vendor] = {
    module.VENDOR.name: module.VENDOR for module in (langfuse, langsmith, phoenix, mlflow, openai)
}

IDS_A_QUERY = 1000
NO_SPAN = "a score of a span that is neither in these files nor stored; import its spans first, or with it"


@dataclass
class Outcome:
    """What became of the rows: each is imported or refused."""

    rows: int = 0
    imported: int = 0
    spans: int = 0
    scores: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Rows, by the reason why nothing of them was imported."""

    left_out: Counter[str] = field(default_factory=Counter)
    """Parts of imported rows, by the reason why they were left out."""


def import_history(vendor: str, files: Sequence[Path], data: Path, redactor: Redactor | None = None) -> Outcome:
    """Store what a product's export files hold; return what became of each row.

    Nothing is stored before all files were read. What is stored already is dropped by the same rules as a client's
    resend. A running receiver redacts as it is set up; the redactor is for where none runs.
    """
    if not files:
        raise SettingsError("no files", hint=f"spanloop import {vendor} FILE…")
    with tempfile.TemporaryFile() as file:
        aside = Aside(file, vendor)
        outcome = read_files(VENDORS[vendor], files, aside, data)
        store(aside, data, redactor)
    return outcome


def read_files(vendor: Vendor, files: Iterable[Path], aside: Aside, data: Path) -> Outcome:
    """Read the files of a product and put aside what they hold. Raises `SettingsError` for a file of another kind."""
    outcome = Outcome()
    unplaced: list[Score] = []
    for path in files:
        _read_file(vendor, path, aside, outcome, unplaced)
        aside.end_file()
    _place(unplaced, aside, outcome, data)
    aside.end_file()
    if not outcome.imported:
        raise SettingsError(
            f"nothing to import: {_said(outcome.refused) or 'the files have no rows'}",
            hint=f"spanloop import {vendor.name} reads {vendor.expects}.",
        )
    return outcome


def _read_file(vendor: Vendor, path: Path, aside: Aside, outcome: Outcome, unplaced: list[Score]) -> None:
    try:
        written_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    claimed, foreign = 0, ""
    for row in read_rows(path):
        outcome.rows += 1
        if isinstance(row, Unreadable):
            outcome.refused[row.reason] += 1
            continue
        if not vendor.claims(row):
            foreign = foreign or _foreign(vendor, path, row)
            outcome.refused["a row of another shape"] += 1
            continue
        claimed += 1
        _take(list(_records(vendor, row, written_ns)), aside, outcome, unplaced)
    if foreign and not claimed:
        raise SettingsError(foreign, hint=f"spanloop import {vendor.name} reads {vendor.expects}.")


def _foreign(vendor: Vendor, path: Path, row: Row) -> str:
    """Return what a row of another shape is; raise where it is another product's."""
    for other in VENDORS.values():
        if other is not vendor and other.claims(row):
            raise SettingsError(
                f"{path} has a row of {other.name}'s in it, and {vendor.name}'s were to be imported",
                hint=f"One product at a time: spanloop import {other.name} {path}",
            )
    keys = ", ".join(key for key in sorted(row)[:12] if key.isprintable())
    return f"{path} has no rows of {vendor.name}'s: the first has the fields {keys[:400] or '(none)'}"


def _records(vendor: Vendor, row: Row, written_ns: int) -> Iterator[Record]:
    try:
        yield from vendor.read(row, written_ns)
    except Refused as refusal:
        yield refusal
    except RecursionError:
        yield Refused("nested too deep")
    except UnicodeEncodeError:
        yield Refused("text that is not Unicode")


def _take(records: list[Record], aside: Aside, outcome: Outcome, unplaced: list[Score]) -> None:
    """Put aside what a row yields, and count it; scores of a span whose trace they do not name wait for it."""
    refusals = [record for record in records if isinstance(record, Refused)]
    waiting = [record for record in records if isinstance(record, Score) and not (record.trace_id or record.session_id)]
    for record in records:
        if isinstance(record, Span):
            aside.add(record)
            outcome.spans += 1
        elif isinstance(record, Score) and (record.trace_id or record.session_id):
            aside.add(record)
            outcome.scores += 1
    if len(records) > len(refusals) + len(waiting):
        outcome.imported += 1
        if refusals:
            outcome.left_out.update(str(refusal) for refusal in refusals)
    elif not waiting:
        outcome.refused[str(refusals[0]) if refusals else "a row that holds nothing"] += 1
    unplaced += waiting


def _place(scores: list[Score], aside: Aside, outcome: Outcome, data: Path) -> None:
    """Find the traces of scores that name a span alone: among the spans put aside, else among those stored."""
    if not scores:
        return
    traces = aside.traces_of({score.span_id for score in scores})
    missing = sorted({score.span_id for score in scores} - traces.keys())
    if missing and data.exists():
        with reading(data) as reader:
            for begin in range(0, len(missing), IDS_A_QUERY):
                listed = ", ".join(f"'{one.hex()}'" for one in missing[begin : begin + IDS_A_QUERY])
                rows = reader.query(f"select span_id, trace_id from spans where span_id in ({listed})").to_pylist()
                traces |= {bytes.fromhex(row["span_id"]): bytes.fromhex(row["trace_id"]) for row in rows}
    for score in scores:
        if score.span_id not in traces:
            outcome.refused[NO_SPAN] += 1
            continue
        score.trace_id = traces[score.span_id]
        aside.add(score)
        outcome.scores += 1
        outcome.imported += 1


def _said(reasons: Counter[str]) -> str:
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(5))
