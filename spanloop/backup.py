"""`spanloop backup`: everything DATA holds, into a directory that is a DATA directory itself."""

import contextlib
import shutil
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from foundation.directories import require_directory
from foundation.errors import SettingsError
from foundation.files import exclusive, make_directory, sync_directory
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA
from serve.schema import Registry, read_registry
from spanloop.processes import run_stage

log = get_logger("backup")

COPIED_ELSEWHERE = frozenset({"spans", "wal", "keys.json", "sequence.json", "dataset"})
"""What the receiver copies, and the tables, which go first."""

OF_THOSE_THAT_RUN = ("receiver.json", "server.json", "spool", "sql-temp", "lock", "*.lock", "*.log", ".*", "*.tmp")
"""Where a process answers, what it has yet to send, its locks and logs, and what is half written."""


def backup(
    *,
    out: Path,
    data: Path = DEFAULT_DATA,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Copy spans, keys, tables, checkpoints, registry and nights into a new directory; everything may run meanwhile.

    To restore, use the directory as --data, wherever it lies then: checkpoints below it are found from there. While the
    ETL publishes the status is 75.

    Example: spanloop backup --data spanloop-data --out backups/monday

    Parameters
    ----------
    out
        Directory to make.
    data
        Directory that keeps everything.
    as_json
        Print the run report on stdout.
    """
    require_directory(data)
    if out.exists():
        raise SettingsError(f"{out} is there already", hint="Name a directory that is new: --out DIR")
    report = RunReport("backup", {"data": str(data), "out": str(out)})
    partial = out.with_name(f".{out.name}.whole")
    shutil.rmtree(partial, ignore_errors=True)
    spans = partial / "spans-first"
    try:
        make_directory(partial)
        # The tables first: they must not know of spans that the copy has not, or those would never be read.
        report.update(tables=_copy_dataset(data, partial))
        run_stage("receiver", "backup", "--data", str(data), "--out", str(spans))
        for path in spans.iterdir():
            path.rename(partial / path.name)
        spans.rmdir()
        report.update(**_copy_rest(data, partial))
        sync_directory(partial)
        partial.rename(out)
        sync_directory(out.absolute().parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log.info(
        "backed up", out=str(out), **{key: value for key, value in report.as_dict().items() if key == "checkpoints"}
    )
    if as_json:
        report.print()


def _copy_dataset(data: Path, partial: Path) -> bool:
    if not (data / "dataset").is_dir():
        return False
    with exclusive(data / "dataset" / "lock", purpose="spanloop backup"):
        _copy(data / "dataset", partial / "dataset")
    return True


def _copy_rest(data: Path, partial: Path) -> dict[str, Any]:
    """Copy what is live and what was, then all else: checkpoints that the registry names stay where they are."""
    registry = read_registry(data)
    _copy(data / "serve", partial / "serve")
    left = {path.name for path in data.iterdir()} - COPIED_ELSEWHERE - {"serve"}
    for name in sorted(left - set(_of_those_that_run(data, sorted(left)))):
        _copy(data / name, partial / name)
    return {"checkpoints": _count(partial / "checkpoints"), "left_out": _outside(data, registry)}


def _outside(data: Path, registry: Registry | None) -> list[str]:
    """Return directories of models that are not below DATA, which are not copied."""
    if registry is None:
        return []
    named = {registry.live, *registry.previous, *([registry.canary.checkpoint] if registry.canary else [])}
    outside = sorted(name for name in named if not Path(name).is_relative_to(data.resolve()))
    for name in outside:
        log.warning("a model outside DATA is not copied", model=name)
    return outside


def _count(directory: Path) -> int:
    return sum(1 for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else 0


_of_those_that_run = shutil.ignore_patterns(*OF_THOSE_THAT_RUN)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a directory, where it is there."""
    if source.is_dir():
        make_directory(target.parent)
        shutil.copytree(source, target, ignore=_of_those_that_run, copy_function=_copy_file)
    elif source.exists():
        make_directory(target.parent)
        _copy_file(str(source), str(target))


def _copy_file(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # superseded, and removed, meanwhile
        shutil.copy2(source, target)
