"""Reads recorded export requests, runs the ETL over them and compares field by field with what they must yield."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from etl.exports.export import decoded
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from receiver.decode.arrow import SCHEMAS, decode
from receiver.decode.otlp import REQUESTS, Signal
from tests.held import Held, reason

FIXTURES = Path(__file__).parent / "fixtures" / "otlp"
FRAMEWORKS = FIXTURES.with_name("frameworks")
"""Recordings of frameworks that write spans of their own."""

RECEIVED_NS = 1_800_000_000_000_000_000
"""When the recordings were received, as far as the tests are concerned."""

FIELDS = (
    "agent",
    "api",
    "model_requested",
    "model_returned",
    "streamed",
    "params",
    "tools",
    "input",
    "output",
    "usage",
    "response_id",
    "error",
)
TOOL_FIELDS = ("name", "arguments", "result", "error")


@dataclass
class Comparison:
    """How one scenario came out."""

    producer: str
    scenario: str
    expected: int = 0
    recovered: int = 0
    invented: int = 0
    duplicates: int = 0
    checked: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    differences: list[tuple[str, Any, Any]] = field(default_factory=list)
    absent: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Values the expected content asks for that the recording does not hold, by field and by how that was found."""


def scenarios(root: Path = FIXTURES) -> list[tuple[str, str]]:
    """Return (producer, scenario) of every recording."""
    suffix = ".expected.json"
    return sorted((path.parent.name, path.name.removesuffix(suffix)) for path in root.glob(f"*/*{suffix}"))


@cache
def load(producer: str, scenario: str, root: Path = FIXTURES) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Return the spans, the log records and the expected content of a recording, as the receiver lands them."""
    directory = root / producer
    expected = json.loads((directory / f"{scenario}.expected.json").read_text())
    batches: dict[Signal, list[pa.RecordBatch]] = {Signal.TRACES: [], Signal.LOGS: []}
    pattern = re.compile(re.escape(scenario) + r"(\.\d+)?(\.logs)?\.pb$")
    for seq, path in enumerate(sorted(p for p in directory.iterdir() if pattern.match(p.name)), start=1):
        signal = Signal.LOGS if ".logs." in path.name else Signal.TRACES
        message = REQUESTS[signal].FromString(path.read_bytes())
        batches[signal].append(decode(signal, message, project="default", received_ns=RECEIVED_NS, seq=seq))
    spans, logs = (
        frame_of(pa.Table.from_batches(batches[signal], schema=SCHEMAS[table]))
        for signal, table in ((Signal.TRACES, "spans"), (Signal.LOGS, "log_records"))
    )
    return spans, logs, expected


def frame_of(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def run(spans: pl.DataFrame, logs: pl.DataFrame) -> Dataset:
    """Run the ETL over whole traces, complete or not."""
    return transform(spans, logs, EtlConfig(complete_after=0))


@cache
def compare(producer: str, scenario: str, root: Path = FIXTURES) -> Comparison:
    """Run one recording and compare."""
    spans, logs, expected = load(producer, scenario, root)
    dataset = run(spans, logs)
    actual = [
        decoded("llm_calls", row)
        for row in dataset.tables["llm_calls"].sort("start_ns", "span_id").iter_rows(named=True)
    ]
    comparison = Comparison(producer, scenario)
    unrecorded = Unrecorded(expected, Held(spans, logs), comparison.absent)
    wanted = list(enumerate(expected["llm_calls"]))
    pairs, left = _match(wanted, actual)
    comparison.expected = sum(call["recorded"] == "yes" for _, call in wanted)
    comparison.recovered = sum(expected["llm_calls"][index]["recorded"] == "yes" for index, _ in pairs)
    truths = {call["response_id"] for _, call in wanted if call["response_id"]}
    for call in left:
        is_again = call["response_id"] in truths
        comparison.duplicates += is_again
        comparison.invented += not is_again
    for index, call in pairs:
        for name in FIELDS:
            _compare(
                comparison, f"llm_calls/{index}/{name}", name, expected["llm_calls"][index][name], call, unrecorded
            )
    _compare_tools(comparison, expected, dataset, unrecorded)
    return comparison


def _match(
    wanted: list[tuple[int, dict[str, Any]]], actual: list[dict[str, Any]]
) -> tuple[list[tuple[int, dict[str, Any]]], list[dict[str, Any]]]:
    """Pair each expected call with the recovered one most like it; ids decide, then content, then order."""
    scores = []
    for index, call in wanted:
        for number, candidate in enumerate(actual):
            if call["response_id"] and candidate["response_id"] and call["response_id"] != candidate["response_id"]:
                continue
            score = 100 * bool(call["response_id"] and call["response_id"] == candidate["response_id"])
            score += 10 * (_said(call["output"]) == _said(candidate["output"]))
            score += 5 * (_said(call["input"]) == _said(candidate["input"]))
            score += 3 * (call["recorded"] == "yes") + 2 * ((call["error"] is None) == (candidate["error"] is None))
            scores.append((-score, abs(index - number), index, number))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, index, number in sorted(scores):
        if index not in pairs and number not in taken:
            pairs[index] = number
            taken.add(number)
    left = [call for number, call in enumerate(actual) if number not in taken]
    return [(index, actual[number]) for index, number in sorted(pairs.items())], left


def _said(messages: Any) -> Any:
    return [message.get("text") if isinstance(message, dict) else message for message in messages or ()]


def _compare(
    comparison: Comparison, path: str, name: str, wanted: Any, call: dict[str, Any], unrecorded: "Unrecorded"
) -> None:
    got = call[name]
    if path in unrecorded or (got is None and says_nothing(wanted, path, unrecorded)):
        return
    if got is None and wanted and unrecorded.is_absent(wanted, name, name):
        return
    if name == "streamed":
        got = bool(got)
    if name == "error" and wanted is not None and got is not None:
        got = {key: got.get(key) for key in wanted}
    if name == "tools" and wanted == [] and got is None:
        got = []
    comparison.checked[name] += 1
    problem = difference(wanted, got, path, unrecorded)
    if problem is None:
        comparison.equal[name] += 1
    else:
        comparison.differences.append(problem)


class Unrecorded:
    """What a recording does not hold: as its expected content lists, and as its bytes prove."""

    def __init__(self, expected: dict[str, Any], held: Held, absent: Counter[tuple[str, str]]) -> None:
        self._listed = {entry["path"] for entry in expected["unrecorded"]}
        self._held = held
        self._absent = absent

    def __contains__(self, path: str) -> bool:
        """Tell whether the expected content lists the path."""
        return path in self._listed

    def is_absent(self, wanted: Any, name: str, field_name: str) -> bool:
        """Tell whether a value that was not recovered is nowhere in the recording's bytes, and count it."""
        if self._held(wanted, name):
            return False
        self._absent[field_name, reason(wanted, name)] += 1
        return True

    def holds(self, item: Any, path: str) -> bool:
        """Tell whether one item of a list is recorded at all."""
        is_message = isinstance(item, dict) and "role" in item
        return self._held(item, "message") if is_message else not says_nothing(item, path, self)

    def is_plain_refusal(self, wanted: dict[str, Any], got: dict[str, Any]) -> bool:
        """Tell whether a refusal was recorded as if it were the answer's text, and count it."""
        text = wanted.get("refusal")
        if not text or got.get("text") != text or self._held.names("refusal"):
            return False
        self._absent["output", "nothing says that it is a refusal"] += 1
        return True


def difference(wanted: Any, got: Any, path: str, unrecorded: Unrecorded) -> tuple[str, Any, Any] | None:
    """Return the first place where two values differ, leaving out what the recording does not hold."""
    if path in unrecorded:
        return None
    parts = path.split("/")
    if got is None and wanted not in (None, []):
        return None if unrecorded.is_absent(wanted, parts[-1], _column(parts)) else (path, wanted, got)
    if isinstance(wanted, dict) and isinstance(got, dict):
        if unrecorded.is_plain_refusal(wanted, got):
            got = {**got, "text": None, "refusal": got["text"]}
        for key, value in wanted.items():
            if key == "params" or key in got or value not in (None, []):
                problem = difference(value, got.get(key), f"{path}/{key}", unrecorded)
                if problem is not None:
                    return problem
        extra = [key for key in got if key not in wanted and got[key] not in (None, [])]
        return (f"{path}/{extra[0]}", None, got[extra[0]]) if extra else None
    if isinstance(wanted, list) and isinstance(got, list):
        positions = list(range(len(wanted)))
        if len(wanted) != len(got):  # messages of which nothing is recorded cannot be counted either
            positions = [n for n in positions if unrecorded.holds(wanted[n], f"{path}/{n}")]
        if len(positions) != len(got):
            return path, wanted, got
        for position, right in zip(positions, got, strict=True):
            problem = difference(wanted[position], right, f"{path}/{position}", unrecorded)
            if problem is not None:
                return problem
        return None
    return None if wanted == got and type(wanted is True) is type(got is True) else (path, wanted, got)


def _column(parts: list[str]) -> str:
    return "tool call" if parts[0] == "tool_executions" else parts[2]


def says_nothing(wanted: Any, path: str, unrecorded: Unrecorded) -> bool:
    """Tell whether an expected value holds no fact: roles and empty shells around what the recording does not hold."""
    if path in unrecorded or wanted in (None, [], ""):
        return True
    if isinstance(wanted, dict):
        facts = [key for key in wanted if key not in {"role", "media"}]
        return bool(facts) and all(says_nothing(wanted[key], f"{path}/{key}", unrecorded) for key in facts)
    if isinstance(wanted, list):
        return all(says_nothing(item, f"{path}/{index}", unrecorded) for index, item in enumerate(wanted))
    return False


def _compare_tools(comparison: Comparison, expected: dict[str, Any], dataset: Dataset, unrecorded: Unrecorded) -> None:
    rows = [
        {**row, "arguments": json.loads(row["arguments"]) if row["arguments"] else None}
        for row in dataset.tables["tool_calls"].sort("start_ns", "span_id").iter_rows(named=True)
    ]
    by_name: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_name[row["name"]].append(row)
    for index, wanted in enumerate(expected["tool_executions"]):
        same = by_name[wanted["name"]]
        if not same and unrecorded.is_absent([wanted["result"], wanted["error"]], "result", "tool call"):
            continue
        comparison.checked["tool call"] += 1
        if not same:
            comparison.differences.append((f"tool_executions/{index}", wanted, None))
            continue
        best = min(same, key=lambda row: row["arguments"] != wanted["arguments"])
        same.remove(best)
        got = {name: best[name] for name in TOOL_FIELDS}
        problem = difference(wanted, got, f"tool_executions/{index}", unrecorded)
        if problem is None:
            comparison.equal["tool call"] += 1
        else:
            comparison.differences.append(problem)


# --- the coverage table of docs/dialects.md

PAGE = Path(__file__).parents[1] / "docs" / "dialects.md"
BEGIN = "<!-- coverage: written by `python -m tests.recordings` -->"
END = "<!-- end of coverage -->"
FRAMEWORKS_BEGIN = "<!-- frameworks: written by `python -m tests.recordings` -->"
FRAMEWORKS_END = "<!-- end of frameworks -->"
COLUMNS = (*FIELDS, "tool call")


@cache
def coverage(root: Path = FIXTURES) -> dict[str, Comparison]:
    """Return the comparison of all scenarios, added up by producer."""
    totals: dict[str, Comparison] = {}
    for producer, scenario in scenarios(root):
        one = compare(producer, scenario, root)
        total = totals.setdefault(producer, Comparison(producer, "*"))
        total.expected += one.expected
        total.recovered += one.recovered
        total.invented += one.invented
        total.duplicates += one.duplicates
        total.checked += one.checked
        total.equal += one.equal
        total.differences += one.differences
        total.absent += one.absent
    return totals


def coverage_table(totals: dict[str, Comparison]) -> str:
    """Return the matrix of producers and fields as Markdown: equal of checked, or one number where all are equal."""
    lines = [
        "| producer | calls | twice | invented | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 4) + "|",
    ]
    for producer, total in sorted(totals.items()):
        cells = [_share(total.equal[name], total.checked[name]) if total.checked[name] else "·" for name in COLUMNS]
        calls = _share(total.recovered, total.expected)
        lines.append(f"| {producer} | {calls} | {total.duplicates} | {total.invented} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def absence_table(totals: dict[str, Comparison]) -> str:
    """Return as Markdown what the expected content asks for and no recording holds, by field and what was sought."""
    producers: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for producer, total in sorted(totals.items()):
        for key, count in sorted(total.absent.items()):
            producers[key][producer] = count
    lines = ["| field | sought and not found | values | producers |", "|---" * 4 + "|"]
    for (name, sought), counts in sorted(producers.items()):
        lines.append(f"| {name} | {sought} | {sum(counts.values())} | {', '.join(counts)} |")
    return "\n".join(lines)


def _share(equal: int, checked: int) -> str:
    return str(checked) if equal == checked else f"**{equal}/{checked}**"


def page_with_table(page: str) -> str:
    """Return the page with its tables written anew."""
    head, rest = page.split(FRAMEWORKS_BEGIN)
    _, tail = rest.split(FRAMEWORKS_END)
    frameworks = coverage_table(coverage(FRAMEWORKS))
    page = f"{head}{FRAMEWORKS_BEGIN}\n\n{frameworks}\n\n{FRAMEWORKS_END}{tail}"
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    totals = coverage()
    equal = sum(total.equal.total() for total in totals.values())
    checked = sum(total.checked.total() for total in totals.values())
    summary = f"All together: {equal:,} of {checked:,} values, {equal / checked:.2%}."
    absent = f"Not in the recordings, and not counted above:\n\n{absence_table(totals)}"
    return f"{head}{BEGIN}\n\n{coverage_table(totals)}\n\n{summary}\n\n{absent}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
