"""`spanloop etl`: spans in, transitions out."""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators
from pydantic import ValidationError

from etl.settings import DialectEntry, EtlConfig
from foundation.directories import check_directory, require_directory
from foundation.errors import SettingsError
from foundation.named_traces import read_traces
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA
from foundation.store.opening import require_store
from foundation.web import places

SETTINGS_FILE = "spanloop.toml"


def own_dialects() -> list[DialectEntry]:
    """Return the entries `[[etl.dialects]]` of the settings file of this directory, or of the nearest one above."""
    here = Path.cwd()
    path = next((file for place in (here, *here.parents) if (file := place / SETTINGS_FILE).is_file()), None)
    from etl.dialects.structure.own import check

    table = tomllib.loads(path.read_text()).get("etl", {}) if path is not None else {}
    try:
        entries = [DialectEntry.model_validate(entry) for entry in table.get("dialects", ())]
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{path}: [[etl.dialects]]: {told}", hint="docs/dialects.md has an example.") from error
    for entry in entries:
        check(entry)
    return entries


app = App(name="etl", help="Spans in, transitions out.")

log = get_logger("etl")


@app.command
def run(
    *,
    config: Annotated[EtlConfig, Parameter(name="*")] = EtlConfig(),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Process the traces that something arrived of since the last finished run, and publish their transitions.

    Example: spanloop etl run --data /var/lib/spanloop --json

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Do everything but publish; write nothing.
    """
    from etl.published.publish import writing
    from etl.runs.run import run_etl

    config = config.model_copy(update={"dialects": own_dialects()})
    report = RunReport("etl run", config.model_dump(mode="json"))
    if not places.receivers() and not check_directory(config.data):
        log.warning("there is no such directory; nothing is processed", data=str(config.data))
        report.update(traces=0, spans=0, calls=0, episodes=0, transitions=0)
    else:
        with writing(config.data):
            run_etl(config, report, dry_run=dry_run)
    if as_json:
        report.print()


@app.command
def publish(
    *, data: Path = DEFAULT_DATA, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> None:
    """Publish what the shares of a divided run (`etl run --bucket i/n`) have done; refuse while one is missing.

    Example: spanloop etl publish --data /var/lib/spanloop

    Parameters
    ----------
    data
        Directory that holds everything.
    as_json
        Print the report on stdout.
    """
    from etl.published.publish import writing
    from etl.runs.run import publish_shares

    require_directory(data)
    report = RunReport("etl publish", {"data": str(data)})
    with writing(data):
        publish_shares(EtlConfig(data=data), report)
    if as_json:
        report.print()


@app.command
def push(*, data: Path = DEFAULT_DATA, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Commit what is published here to the store, as every run with --store does at its end.

    Example: spanloop etl push --data /var/lib/spanloop --store s3://bucket/spanloop

    Parameters
    ----------
    data
        Directory that holds everything.
    as_json
        Print the report on stdout.
    """
    from etl.published.publish import writing
    from etl.published.stored import committing
    from foundation.files import exclusive

    store = require_store()
    report = RunReport("etl push", {"data": str(data), "store": store.url})
    with (
        writing(data),
        exclusive(data / "dataset" / "lock", purpose="spanloop etl push"),
        committing(data, store, purpose="spanloop etl push") as commit,
    ):
        report.update(files=commit.publish())
    if as_json:
        report.print()


@app.command
def pull(*, data: Path = DEFAULT_DATA, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Bring the published tables here to what the store says, for training or SQL on this machine.

    Example: spanloop etl pull --data /var/lib/spanloop --store s3://bucket/spanloop

    Parameters
    ----------
    data
        Directory that holds everything.
    as_json
        Print the report on stdout.
    """
    from etl.published.publish import writing
    from etl.published.stored import pull as pull_tables
    from foundation.files import exclusive

    store = require_store()
    report = RunReport("etl pull", {"data": str(data), "store": store.url})
    with writing(data), exclusive(data / "dataset" / "lock", purpose="spanloop etl pull"):
        report.update(files=pull_tables(data, store))
    if as_json:
        report.print()


@app.command
def inspect(
    trace_id: str,
    *,
    data: Path = DEFAULT_DATA,
    project: str | None = None,
    width: int | None = None,
    explain: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show a trace as the ETL sees it: the tree, with what each span was read as and the rewards it got.

    Example: spanloop etl inspect --data /var/lib/spanloop 4bf92f3577b34da6a3ce929d0e0e4736

    Parameters
    ----------
    trace_id
        The trace, 32 hex digits; its first digits are enough.
    data
        Directory that holds everything.
    project
        Project the trace is in. Default: any.
    width
        Columns to draw in. Default: the terminal's.
    explain
        Say of every span where each field came from and what was not understood, in place of the tree.
    """
    from etl.exports.inspect import explain_trace, show_trace

    if explain:
        explain_trace(data, trace_id, own_dialects(), project=project)
    else:
        show_trace(data, trace_id, project=project, width=width)


@app.command
def suggest(*, data: Path = DEFAULT_DATA) -> None:
    """Look at the latest spans that nobody reads and print entries for spanloop.toml to start from, one a scope.

    Example: spanloop etl suggest --data /var/lib/spanloop

    Parameters
    ----------
    data
        Directory that holds everything.
    """
    from etl.exports.explain import suggest as entry_for
    from etl.exports.explain import unread_spans

    if not places.receivers():
        require_directory(data)
    found = unread_spans(data, own_dialects())
    if not found:
        log.info("every span of the latest traces that looks like model traffic is read")
    print("\n\n".join(entry_for(scope, spans) for scope, spans in sorted(found.items())))


@app.command
def stats(
    *,
    data: Path = DEFAULT_DATA,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    width: int | None = None,
) -> None:
    """Say what is published: fields by producer, signals against outcomes, rewards, evidence, splits, rejected rows.

    Example: spanloop etl stats --data /var/lib/spanloop

    Parameters
    ----------
    data
        Directory that holds everything.
    as_json
        Print it as JSON.
    width
        Columns to draw in. Default: the terminal's.
    """
    from etl.exports.stats import show
    from etl.exports.stats import stats as measure

    require_directory(data)
    found = measure(data)
    if as_json:
        print(json.dumps(found))
    else:
        show(found, width=width)


@app.command
def export(
    *,
    what: Literal["llm_calls", "tool_calls", "rewards", "episodes", "transitions", "rejected"] = "transitions",
    data: Path = DEFAULT_DATA,
    form: Annotated[
        Literal["jsonl", "parquet", "trl", "verl", "datasets", "openai"], Parameter(name="--format")
    ] = "jsonl",
    to: Path | None = None,
) -> None:
    """Write a published table as JSON lines, as one Parquet file, or transitions as other trainers take them.

    Example: spanloop etl export --data /var/lib/spanloop --what llm_calls --format jsonl

    Parameters
    ----------
    what
        The table.
    data
        Directory that holds everything.
    form
        How to write it. trl, datasets (Hugging Face) and openai (fine-tuning) are JSON lines of transitions, verl is a
        Parquet file of them. What OpenAI's fine-tuning would refuse is left out and counted.
    to
        File to write. Default: stdout.
    """
    from etl.exports.export import export as write

    require_directory(data)
    log.info("exported", table=what, rows=write(data, what, form, to))


@app.command
def prune(
    *,
    retain_days: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=36_500))],
    data: Path = DEFAULT_DATA,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Take episodes out of the published tables that ended longer ago than some days.

    Example: spanloop etl prune --data /var/lib/spanloop --retain-days 90 --dry-run

    Parameters
    ----------
    retain_days
        Days that episodes are kept after their end.
    data
        Directory that holds everything.
    dry_run
        Count, and change nothing.
    as_json
        Print the report on stdout.
    """
    from etl.published.publish import writing
    from etl.runs.forgetting import prune as prune_tables

    require_directory(data)
    report = RunReport("etl prune", {"data": str(data), "retain_days": retain_days, "dry_run": dry_run})
    with writing(data):
        report.update(**prune_tables(data, retain_days=retain_days, dry_run=dry_run))
    if as_json:
        report.print()


@app.command
def forget(
    *,
    traces: Path,
    data: Path = DEFAULT_DATA,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Take traces out of the published tables. `spanloop forget` finds them, and runs this.

    Example: spanloop etl forget --data /var/lib/spanloop --traces traces.json

    Parameters
    ----------
    traces
        JSON file: {"traces": [[project, trace id], …]}.
    data
        Directory that holds everything.
    dry_run
        Count, and change nothing.
    as_json
        Print the report on stdout.
    """
    from etl.published.publish import writing
    from etl.runs.forgetting import forget as forget_traces

    require_directory(data)
    named, _ = read_traces(traces)
    report = RunReport("etl forget", {"data": str(data), "dry_run": dry_run})
    with writing(data):
        report.update(**forget_traces(data, named, dry_run=dry_run))
    if as_json:
        report.print()
