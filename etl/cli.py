"""`spanloop etl`: spans in, transitions out."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from etl.settings import EtlConfig
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA

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
    from etl.runs.publish import writing
    from etl.runs.run import run_etl

    report = RunReport("etl run", config.model_dump(mode="json"))
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
    from etl.runs.publish import writing
    from etl.runs.run import publish_shares

    report = RunReport("etl publish", {"data": str(data)})
    with writing(data):
        publish_shares(EtlConfig(data=data), report)
    if as_json:
        report.print()


@app.command
def inspect(trace_id: str, *, data: Path = DEFAULT_DATA, project: str | None = None, width: int | None = None) -> None:
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
    """
    from etl.exports.inspect import show_trace

    show_trace(data, trace_id, project=project, width=width)


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
    import json

    from etl.exports.stats import show
    from etl.exports.stats import stats as measure

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

    log.info("exported", table=what, rows=write(data, what, form, to))
