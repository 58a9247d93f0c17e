"""`spanloop forget`: take a user, a trace or an attribute out of everything that is kept, and name what learned of it.

Published tables go first and spans last, so that after an interruption the same command finds the same traces again.
"""

import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from cyclopts import Parameter

from etl.schema import read_watermark, table_files
from foundation.directories import require_directory
from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.files import write_atomically
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA
from foundation.web import places
from foundation.web.places import Place
from receiver.schema import Reader, connect, connect_with, find
from spanloop.processes import run_stage
from train.schema import COPIED, CREDIT_FILE

log = get_logger("forget")

Trace = tuple[str, str]

USER = re.compile(r"(?:^|[._-])(?:end_?user|user|customer)(?:[._-]?(?:id|email|name|hash))?$", re.IGNORECASE)
"""How attributes end that name a user, in whatever convention."""

SESSION = re.compile(r"(?:^|[._-])(?:session|conversation|thread)[._-]?id$", re.IGNORECASE)
NAMES = ("gen_ai.response.id", "spanloop.episode.id")
SHORTEST_TEXT = 16
"""Characters of a message by which an export is recognised."""


def forget(
    *,
    user: tuple[str, ...] = (),
    trace: tuple[str, ...] = (),
    attribute: tuple[str, ...] = (),
    data: Path = DEFAULT_DATA,
    checkpoints: Path | None = None,
    exports: tuple[Path, ...] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Remove traces from spans, log, published tables and exports, and name the checkpoints that were trained on them.

    The receiver has to be stopped meanwhile. What a user said is repeated in later turns: all traces of their sessions
    go. With --store its days and tables lose them as well. Copies elsewhere (backups, other backends) are not reached.

    Example: spanloop forget --data spanloop-data --user alice --dry-run

    Parameters
    ----------
    user
        User, as an attribute of a span, its resource or the model's request names them (`user.id`, `enduser.id`, …).
    trace
        Trace id, 32 hex digits.
    attribute
        NAME=VALUE of a span, its resource or a log record.
    data
        Directory that keeps everything.
    checkpoints
        Directory of the checkpoints. Default: DATA/checkpoints.
    exports
        Files, or directories of files, that `spanloop etl export` wrote: those with anything of these traces go.
    dry_run
        Say what would be removed, and remove nothing.
    as_json
        Print the report on stdout.
    """
    pairs = [_pair(one) for one in attribute]
    for one in trace:
        if not re.fullmatch("[0-9a-f]{32}", one):
            raise SettingsError(f"trace {one!r}: a trace id has 32 hex digits")
    if "" in user or not (user or trace or pairs):
        raise SettingsError("nothing to forget", hint="Name a --user, a --trace or an --attribute NAME=VALUE.")
    require_directory(data)
    if not dry_run and (running := find(data)) is not None:
        raise Busy(
            f"a receiver runs on {data} ({running['http']})",
            hint="Stop it; exporters keep what they have meanwhile, and send it when it is back.",
        )
    report = RunReport("forget", {"data": str(data), "dry_run": dry_run})
    store = places.store()
    with closing(connect(data) if store is None else connect_with(data, [Place(store, "")])) as reader:
        traces = _find(reader, set(user), set(trace), pairs)
        names = _names(reader, traces)
        held = _held(data, traces)
    sure = ["--dry-run"] if dry_run else []
    with tempfile.TemporaryDirectory(prefix="spanloop-forget-") as scratch:
        listed = Path(scratch) / "traces.json"
        listed.write_text(json.dumps({"traces": sorted(traces), "names": sorted(names)}))
        for_the_etl = Path(scratch) / "published.json"
        stand_ins = [(p, f"{kind}:{name}") for p in {p for p, _ in traces} for name in names for kind in KINDS]
        for_the_etl.write_text(json.dumps({"traces": [*sorted(traces), *stand_ins]}))
        published = run_stage("etl", "forget", "--data", str(data), "--traces", str(for_the_etl), *sure)
        if store is not None and read_watermark(data) is not None and not dry_run:
            run_stage("etl", "push", "--data", str(data))
        stored = run_stage("receiver", "forget", "--data", str(data), "--traces", str(listed), *sure)
    if not dry_run:
        shutil.rmtree(data / COPIED, ignore_errors=True)  # the next training from a store brings what is left
    found = _checkpoints(checkpoints or data / "checkpoints", held.episodes, dry_run=dry_run)
    files = [
        *_remove(_files([data / "serve" / "spool"]), _marks(traces, names), dry_run=dry_run),
        *_remove(_files(exports), [*_marks(traces, names), *held.texts], dry_run=dry_run),
    ]
    counts = {key: value for one in (published, stored) for key, value in one.items() if isinstance(value, int)}
    report.update(
        traces=[list(one) for one in sorted(traces)], checkpoints=found, files=list(map(str, files)), **counts
    )
    log.info("would forget" if dry_run else "forgot", traces=len(traces), files=len(files), **counts)
    for name in found:
        log.warning("was trained on what is forgotten", checkpoint=name)
    if as_json:
        report.print()
    else:
        sys.stdout.writelines(f"{trace_id}\n" for _, trace_id in sorted(traces))


KINDS = ("response", "episode", "session")
"""What the ETL's stand-ins begin with, under which it keeps rewards that name what they judge."""


def _pair(text: str) -> tuple[str, str]:
    name, marker, value = text.partition("=")
    if not (marker and name and value):
        raise SettingsError(f"attribute {text!r}", hint="Write --attribute NAME=VALUE.")
    return name, value


def _find(reader: Reader, users: set[str], traces: set[str], pairs: list[tuple[str, str]]) -> set[Trace]:
    """Return the traces that any of these names, and all of the sessions a user is in."""
    found = {
        (project, trace_id)
        for table in ("spans", "log_records")
        for project, trace_id in _rows(
            reader, f"select distinct project, trace_id from {table} where trace_id in", traces
        )
    }
    sessions: set[str] = set()
    for wanted, is_user in ((users, True), ({value for _, value in pairs}, False)):
        for project, trace_id, facts in _mentioning(reader, wanted):
            if is_user and any(USER.search(key) and value in users for key, value in facts):
                found.add((project, trace_id))
                sessions |= {value for key, value in facts if SESSION.search(key)}
            elif not is_user and not set(pairs).isdisjoint(facts):
                found.add((project, trace_id))
    more = _sessions(reader, {trace for _, trace in found}) if users else set()
    for project, trace_id, facts in _mentioning(reader, sessions | more) if users else ():
        if any(SESSION.search(key) and value in sessions | more for key, value in facts):
            found.add((project, trace_id))
    return found


def _sessions(reader: Reader, traces: set[str]) -> set[str]:
    rows = _rows(reader, "select attributes, resource from spans where trace_id in", traces)
    return {value for row in rows for text in row for key, value in _facts(text) if SESSION.search(key)}


def _mentioning(reader: Reader, values: set[str]) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield project, trace and facts of every span and log record that has one of these values somewhere."""
    for value in sorted(values):
        written = json.dumps(value, ensure_ascii=False)[1:-1]
        for table in ("spans", "log_records"):
            rows = reader.query(
                f"select project, trace_id, attributes, resource from {table} where trace_id is not null "
                "and (contains(attributes, ?) or contains(resource, ?))",
                [written, written],
            )
            for row in rows.to_pylist():
                yield row["project"], row["trace_id"], [*_facts(row["attributes"]), *_facts(row["resource"])]


def _facts(text: str | None) -> list[tuple[str, str]]:
    """Return names and values in attributes, those of JSON within them included."""
    found: list[tuple[str, str]] = []

    def walk(key: str, value: Any, depth: int) -> None:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict):
            for name, one in value.items():
                walk(str(name), one, depth + 1)
        elif isinstance(value, list):
            for one in value:
                walk(key, one, depth + 1)
        elif value not in {None, ""}:  # which is nobody's name: it would stand for everybody who has none
            found.append((key, value if isinstance(value, str) else json.dumps(value)))
            if isinstance(value, str) and depth < 20 and value[:1] in "{[":
                try:
                    walk(key, json.loads(value), depth + 5)
                except (ValueError, RecursionError):
                    return

    walk("", json.loads(text or "{}"), 0)
    return found


def _names(reader: Reader, traces: set[Trace]) -> set[str]:
    """Return the ids by which rewards may name what happened in these traces."""
    ids = {trace_id for _, trace_id in traces}
    rows = _rows(reader, "select attributes from spans where trace_id in", ids)
    return {value for (text,) in rows for key, value in _facts(text) if key in NAMES}


def _rows(reader: Reader, sql: str, values: Collection[str]) -> list[tuple[Any, ...]]:
    if not values:
        return []
    table = reader.query(f"{sql} ({', '.join('?' * len(values))})", sorted(values))
    return [tuple(row.values()) for row in table.to_pylist()]


class _Held:
    """What the published tables have of some traces."""

    def __init__(self, episodes: set[Trace], texts: list[bytes]) -> None:
        self.episodes = episodes
        self.texts = texts


def _held(data: Path, traces: set[Trace]) -> _Held:
    wanted = pl.LazyFrame(sorted(traces), schema={"project": pl.String, "trace_id": pl.String}, orient="row")
    files = table_files(data, "transitions")
    if not files:
        return _Held(set(), [])
    own = pl.scan_parquet(files).join(wanted, on=["project", "trace_id"], how="semi")
    kept = [name for name in ("observation", "action") if name in own.collect_schema()]
    rows = own.select("project", "episode_id", *kept).collect()
    texts = {text for name in kept for value in rows[name] for text in _texts(value)}
    return _Held(set(rows.select("project", "episode_id").iter_rows()), sorted(texts))


def _texts(messages: str | None) -> Iterator[bytes]:
    """Yield what users and tools said in messages, as an export may have it."""
    said = json.loads(messages) if messages else []
    for message in said if isinstance(said, list) else [said]:
        text = message.get("text") if isinstance(message, dict) and message.get("role") != "system" else None
        if isinstance(text, str) and len(text) >= SHORTEST_TEXT:
            yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
            yield json.dumps(text)[1:-1].encode()


def _checkpoints(directory: Path, episodes: set[Trace], *, dry_run: bool) -> list[str]:
    """Return the checkpoints that learned from any of these episodes, and take their rows out of the record of it."""
    named = []
    gone = pl.DataFrame(sorted(episodes), schema={"project": pl.String, "episode_id": pl.String}, orient="row")
    for path in sorted(directory.glob(f"*/{CREDIT_FILE}")):
        rows = pl.read_parquet(path)
        kept = rows.join(gone, on=["project", "episode_id"], how="anti", maintain_order="left")
        if kept.height == rows.height:
            continue
        named.append(path.parent.name)
        if not dry_run:
            buffer = io.BytesIO()
            kept.write_parquet(buffer)
            write_atomically(path, buffer.getvalue())
    return named


def _marks(traces: set[Trace], names: set[str]) -> list[bytes]:
    return [*(m for _, t in traces for m in (bytes.fromhex(t), t.encode())), *(name.encode() for name in names)]


def _files(places: Collection[Path]) -> Iterator[Path]:
    for place in places:
        yield from (path for path in sorted(place.rglob("*")) if path.is_file()) if place.is_dir() else [place]


def _remove(files: Iterator[Path], marks: list[bytes], *, dry_run: bool) -> list[Path]:
    """Remove files that have one of these marks in them; return them."""
    found = []
    for path in files:
        try:
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content = pl.read_parquet(path).write_json().encode()
        except FileNotFoundError:
            continue
        except (OSError, pl.exceptions.PolarsError) as error:
            raise SpanloopError(f"{path} cannot be read: {type(error).__name__}") from None
        if any(mark in content for mark in marks):
            found.append(path)
            if not dry_run:
                path.unlink()
    return found
