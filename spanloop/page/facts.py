"""What the stages left in files below DATA: nights, checkpoints with their gates, the registry, trails of changes.

Everything is read anew each time: these are small files, renamed into place. One that is damaged or of another version
is told as a problem, and hides nothing else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import SpanloopError
from serve.schema import Registry, audit_path, course_path, read_registry
from train.schema import MANIFEST, PRUNED

MAX_NIGHTS = 200
"""Latest reports that are read."""

MAX_UPDATES = 20_000
"""Lines of a metrics.jsonl that are drawn: the first ones."""

Fact = dict[str, Any]


def nights(data: Path) -> list[Fact]:
    """Return the reports of nights, newest first; of one that cannot be read its name and why."""
    paths = _newest(data / "nightly" / "runs", "*.json", MAX_NIGHTS)
    found = [{"run_id": path.stem} | _read(path) for path in paths]
    return sorted(found, key=lambda night: str(night.get("started_time") or ""), reverse=True)


def etl_runs(data: Path) -> list[Fact]:
    """Return the reports of the ETL's runs, newest first."""
    found = [{"run_id": path.stem} | _read(path) for path in _newest(data / "dataset" / "runs", "*.json", MAX_NIGHTS)]
    return sorted(found, key=lambda run: str(run.get("started_time") or ""), reverse=True)


def replays(data: Path) -> list[Fact]:
    """Return the reports of replays, newest first."""
    found = [{"run_id": path.stem} | _read(path) for path in _newest(data / "replays", "*.json", MAX_NIGHTS)]
    return sorted(found, key=lambda run: str(run.get("started_time") or ""), reverse=True)


def canary_course(data: Path, version: str, started_time: str) -> list[Fact]:
    """Return how a canary went since it was begun, in order."""
    lines = _lines(course_path(data, version), MAX_UPDATES)
    return [line for line in reversed(lines) if line.get("started_time") == started_time]


def night_under_way(data: Path) -> Fact | None:
    """Return the night that is being run or was interrupted."""
    path = data / "nightly" / "night.json"
    return _read(path) if path.exists() else None


@dataclass(frozen=True)
class Known:
    """A checkpoint, as its files tell."""

    id: str
    path: Path
    manifest: Fact
    is_pruned: bool = False
    behavior: Fact = field(default_factory=dict)
    """What the gate on behavior measured, empty where it did not."""

    @property
    def gate(self) -> Fact:
        """The verdict of the evaluation, empty before there was one."""
        gate = self.manifest.get("gate")
        return gate if isinstance(gate, dict) else {}

    @property
    def problem(self) -> str | None:
        """Why it cannot be read."""
        return self.manifest.get("problem")


def checkpoints(data: Path) -> list[Known]:
    """Return every checkpoint below DATA/checkpoints, newest first."""
    return sorted(_checkpoints(data), key=lambda known: known.id, reverse=True)


def _checkpoints(data: Path) -> Iterator[Known]:
    for path in _newest(data / "checkpoints", "[!.]*", 1000):
        for name in (MANIFEST, PRUNED):
            if (path / name).is_file():
                gate = data / "serve" / "gates" / f"{path.name}.json"
                behavior = _read(gate) if gate.is_file() else {}
                yield Known(path.name, path, _read(path / name), name == PRUNED, behavior)
                break


def checkpoint(data: Path, id_: str) -> Known | None:
    """Return the checkpoint of this id."""
    return next((known for known in _checkpoints(data) if known.id == id_), None)


def metrics(known: Known) -> list[Fact]:
    """Return the updates of a training, in order; what is no object is left out."""
    path = known.path / "metrics.jsonl"
    found: list[Fact] = []
    try:
        with path.open("rb") as file:
            for line in file:
                if len(found) >= MAX_UPDATES:
                    break
                try:
                    update = json.loads(line)
                except ValueError:
                    continue
                if isinstance(update, dict):
                    found.append(update)
    except OSError:
        return found
    return found


def registry(data: Path) -> tuple[Registry | None, str | None]:
    """Return what is live, and why that cannot be told."""
    try:
        return read_registry(data), None
    except SpanloopError as error:
        return None, error.message


def changes(data: Path) -> list[Fact]:
    """Return the changes of what is live, newest first."""
    return _lines(audit_path(data))


def acts_path(data: Path) -> Path:
    """Return the file that says who did what on the page."""
    return data / "page" / "audit.jsonl"


def acts(data: Path) -> list[Fact]:
    """Return what was done on the page, newest first."""
    return _lines(acts_path(data))


def _lines(path: Path, most: int = 1000) -> list[Fact]:
    try:
        lines = path.read_bytes().splitlines()[-most:]
    except OSError:
        return []
    found = []
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found += [entry] if isinstance(entry, dict) else []
    return found


def _newest(directory: Path, pattern: str, most: int) -> list[Path]:
    try:
        paths = [(path.stat().st_mtime, path) for path in directory.glob(pattern)]
    except OSError:
        return []
    return [path for _, path in sorted(paths, reverse=True)[:most]]


def _read(path: Path) -> Fact:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return {"problem": f"{path.name} cannot be read: {type(error).__name__}"}
    return content if isinstance(content, dict) else {"problem": f"{path.name} holds no object"}


def dig(fact: Any, *names: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what stands at a path of names, None where anything on the way is missing or something else.

    >>> dig({"a": {"b": 1}}, "a", "b"), dig({"a": 3}, "a", "b")
    (1, None)
    """
    for name in names:
        fact = fact.get(name) if isinstance(fact, dict) else None
    return fact
