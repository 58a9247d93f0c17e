"""Says which published parts may hold rows of a trace, episode, session or answer: an index on disk, read by key.

    DATA/dataset/index/index.json       the parts by number, and the runs that count, the largest first
    DATA/dataset/index/<run>.keys       hashes of keys, 64 bits each, in order
    DATA/dataset/index/<run>.at         of each the number of the part that has it, 32 bits

It is made of the published parts and only says where to look, so nothing depends on its being there: a part that it
does not know is looked at, and one that is no longer published is not. A run of the ETL adds what it published; runs
are merged as they grow, a range of hashes at a time, so that there are few and memory stays small.
"""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from etl.schema import TABLES, dataset_directory, read_watermark
from foundation.files import create_private, make_directory, write_json
from foundation.state import is_whole, with_digest

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.uint32]

TRACE, EPISODE, SESSION = "trace", "episode", "session"
JUDGED, NAME = "judged", "name"
RESPONSE, PREVIOUS, CONVERSATION = "response", "previous", "conversation"

COLUMNS: dict[str, dict[str, str]] = {
    "llm_calls": {
        TRACE: "trace_id",
        RESPONSE: "response_id",
        PREVIOUS: "previous_response_id",
        CONVERSATION: "conversation_id",
    },
    "tool_calls": {TRACE: "trace_id"},
    "rewards": {TRACE: "trace_id", JUDGED: "judged_trace_id", EPISODE: "episode_id"},
    "episodes": {TRACE: "trace_ids", EPISODE: "episode_id", SESSION: "session_id"},
    "transitions": {TRACE: "trace_id"},
    "rejected": {TRACE: "trace_id"},
}
"""By which columns the rows of each table are found. Rewards without an episode are found by what they name, too."""

SEED = 0

MADE_BY = f"polars {pl.__version__}, keys 2"
"""Its hashes are the same within a version, on every machine; an index by another version, or of other keys, is made
again."""

NOTHING: dict[str, Any] = {"next": 0, "parts": {}, "runs": []}

FANOUT = 4
"""A run is merged with the next smaller one unless it is larger by so many times."""

AT_ONCE = 2_000_000
"""Entries that are sorted in memory at once."""


def hashes(kind: str, rows: pl.DataFrame) -> Hashes:
    """Return 64 bits for each (project, value) row, each once, in order."""
    key = pl.concat_str(pl.lit(kind), *rows.columns, separator="\0").hash(SEED)
    return np.unique(rows.select(key).to_series().to_numpy())


@dataclass(frozen=True, slots=True)
class _Run:
    keys: Hashes
    at: Numbers

    def find(self, wanted: Hashes) -> Numbers:
        """Return the parts that have any of these."""
        first, last = np.searchsorted(self.keys, wanted, "left"), np.searchsorted(self.keys, wanted, "right")
        counts = last - first
        begins = np.repeat(first - np.cumsum(counts) + counts, counts)
        found: Numbers = np.unique(self.at[begins + np.arange(len(begins))])
        return found


class Index:
    """The published parts, and where in them to look."""

    def __init__(self, data: Path) -> None:
        """Read what is published now."""
        self._data = data
        self._directory = _directory(data)
        self.published = _published(data)
        known = _load(self._directory)
        self._parts: dict[int, str] = {int(number): part for number, part in known["parts"].items()}
        self._runs = [_open(self._directory, name) for name in known["runs"]]
        unknown = self.published - set(self._parts.values())
        self._unknown: dict[str, list[str]] = {table: [] for table in TABLES}
        for part in sorted(unknown):
            self._unknown[part.partition("/")[0]].append(part)

    def files(self, table: str, kind: str, keys: Collection[tuple[str, str]]) -> list[Path]:
        """Return the parts of a table that may hold rows of (project, value) pairs, in order of their names."""
        if not self.published or not keys:
            return []
        wanted = hashes(
            kind, pl.DataFrame(list(keys), schema=dict.fromkeys(("project", "value"), pl.String), orient="row")
        )
        found = {int(number) for run in self._runs for number in run.find(wanted)}
        parts = [self._parts[number] for number in found if number in self._parts]
        own = {part for part in parts if part.startswith(f"{table}/") and part in self.published}
        return [_path(self._data, part) for part in sorted({*own, *self._unknown[table]})]


def update(data: Path, *, forget: bool = False) -> None:
    """Bring the index to what is published; whoever calls it holds the lock of the dataset.

    Hashes that only parts no longer published have go as runs are merged, or, to `forget` them, now.
    """
    directory, published = _directory(data), _published(data)
    known = _load(directory)
    parts: dict[int, str] = {int(n): part for n, part in known["parts"].items() if part in published}
    fresh = sorted(published - set(parts.values()))
    runs: list[str] = known["runs"]
    if not fresh and len(parts) == len(known["parts"]) and not forget:
        return
    make_directory(directory)
    number: int = known["next"]
    sizes = {name: (directory / f"{name}.at").stat().st_size // 4 for name in runs}
    entries: list[tuple[Hashes, Numbers]] = []
    for part in fresh:
        own = _hashes_of(_path(data, part), part.partition("/")[0])
        parts[number] = part
        entries.append((own, np.full(len(own), number, dtype=np.uint32)))
        number += 1
        if part == fresh[-1] or sum(len(one) for one, _ in entries) >= AT_ONCE:
            name = f"{number:09d}"
            sizes[name] = _write(directory, name, iter([_sorted(entries)]))
            runs, entries = _merged(directory, [*runs, name], sizes, parts), []
    if forget and runs:
        runs = _with_last_ones_merged(directory, runs, 0, sizes, parts, f"{number:09d}-all")
        number += 1
    _sync(directory, set(runs) - set(known["runs"]))
    head = {"made_by": MADE_BY, "next": number, "parts": {str(n): part for n, part in parts.items()}, "runs": runs}
    write_json(directory / "index.json", with_digest(head))
    kept = {f"{name}.{kind}" for name in runs for kind in ("keys", "at")} | {"index.json"}
    for path in directory.iterdir():
        if path.name not in kept:
            path.unlink()


def _merged(directory: Path, runs: list[str], sizes: dict[str, int], parts: Collection[int]) -> list[str]:
    """Return the runs once those of about one size are one."""
    first = len(runs) - 1
    while first and sizes[runs[first - 1]] < FANOUT * sum(sizes[name] for name in runs[first:]):
        first -= 1
    if first == len(runs) - 1:
        return runs
    return _with_last_ones_merged(directory, runs, first, sizes, parts, f"{runs[-1]}-{first}")


def _with_last_ones_merged(
    directory: Path, runs: list[str], first: int, sizes: dict[str, int], parts: Collection[int], name: str
) -> list[str]:
    """Return the runs with those from one on as one, of the entries of these parts alone."""
    merging = [_open(directory, run) for run in runs[first:]]
    sizes[name] = _write(directory, name, _ranges(merging, np.array(sorted(parts), dtype=np.uint32)))
    return [*runs[:first], name]


def _ranges(runs: Sequence[_Run], live: Numbers) -> Iterator[tuple[Hashes, Numbers]]:
    """Yield the entries of several runs in order, without those of parts that are gone, a range of hashes at a time."""
    num_ranges = sum(len(run.keys) for run in runs) // AT_ONCE + 1
    edges = [2**64 * number // num_ranges for number in range(1, num_ranges)]
    begins = [0] * len(runs)
    for edge in [*edges, None]:
        ends = [len(run.keys) if edge is None else int(np.searchsorted(run.keys, np.uint64(edge))) for run in runs]
        taken = [(run.keys[a:b], run.at[a:b]) for run, a, b in zip(runs, begins, ends, strict=True)]
        keys, at = _sorted(taken)
        is_live = np.isin(at, live)
        yield keys[is_live], at[is_live]
        begins = ends


def _sorted(entries: Sequence[tuple[Hashes, Numbers]]) -> tuple[Hashes, Numbers]:
    keys, at = np.concatenate([own for own, _ in entries]), np.concatenate([own for _, own in entries])
    order = np.argsort(keys, kind="stable")
    return keys[order], at[order]


def _write(directory: Path, name: str, entries: Iterator[tuple[Hashes, Numbers]]) -> int:
    """Write a run; return how many entries it has."""
    size = 0
    with create_private(directory / f"{name}.keys") as keys_file, create_private(directory / f"{name}.at") as at_file:
        for keys, at in entries:
            keys_file.write(np.ascontiguousarray(keys, dtype="<u8").data)
            at_file.write(np.ascontiguousarray(at, dtype="<u4").data)
            size += len(keys)
    return size


def _sync(directory: Path, runs: Collection[str]) -> None:
    """Make runs durable: an index that names them must not find them torn."""
    for name in runs:
        for kind in ("keys", "at"):
            with (directory / f"{name}.{kind}").open("rb") as file:
                os.fsync(file.fileno())


def _open(directory: Path, name: str) -> _Run:
    def mapped(path: Path, kind: str) -> NDArray[Any]:
        if not path.stat().st_size:
            return np.empty(0, dtype=kind)
        return np.asarray(np.memmap(path, dtype=kind, mode="r"))

    return _Run(mapped(directory / f"{name}.keys", "<u8"), mapped(directory / f"{name}.at", "<u4"))


def _hashes_of(path: Path, table: str) -> Hashes:
    """Return the hashes of a part's rows."""
    columns = COLUMNS[table]
    named = ["names"] if table == "rewards" else []
    rows = pl.read_parquet(path, columns=list(dict.fromkeys(["project", *columns.values(), *named])))
    found: list[Hashes] = []
    for kind, column in columns.items():
        own = rows.select("project", column)
        found.append(hashes(kind, (own.explode(column) if column == "trace_ids" else own).drop_nulls()))
    if named:
        lost = rows.filter(pl.col("episode_id").is_null() & pl.col("names").is_not_null())
        unplaced = [
            (project, f"{kind}:{name}")
            for project, names in lost.select("project", "names").unique().iter_rows()
            for kind, name in orjson.loads(names).items()
        ]
        schema = dict.fromkeys(("project", "value"), pl.String)
        found.append(hashes(NAME, pl.DataFrame(unplaced, schema=schema, orient="row")))
    return np.concatenate(found)


def _published(data: Path) -> set[str]:
    windows = (read_watermark(data) or {"windows": []})["windows"]
    return {f"{table}/{name}" for window in windows for table, names in window["files"].items() for name in names}


def _directory(data: Path) -> Path:
    return data / "dataset" / "index"


def _path(data: Path, part: str) -> Path:
    table, _, name = part.partition("/")
    return dataset_directory(data, table) / name


def _load(directory: Path) -> dict[str, Any]:
    """Return what the index knows; nothing where there is none, or one that cannot be read."""
    try:
        known: dict[str, Any] = json.loads((directory / "index.json").read_bytes())
        sizes = [[(directory / f"{name}.{kind}").stat().st_size for kind in ("keys", "at")] for name in known["runs"]]
        is_sound = is_whole(known) and known["made_by"] == MADE_BY and all(keys == 2 * at for keys, at in sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return NOTHING
    return known if is_sound else NOTHING
