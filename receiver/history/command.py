"""`spanloop import`: what another product recorded, into the tables that spans are in."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.settings import DEFAULT_DATA, Redaction
from otel_exporter.redaction import build

log = get_logger("import")


def import_(
    vendor: Literal["langfuse", "langsmith", "phoenix", "mlflow", "openai"],
    /,
    *files: Path,
    data: Path = DEFAULT_DATA,
    redaction: Annotated[Redaction, Parameter(name="*")] = Redaction(),
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Store what another product recorded: the files it exports, as JSON lines, JSON, CSV or Parquet, gzip or not.

    Every row is imported, or refused with its reason; nothing is stored where a file is of another kind. Importing the
    same files again changes nothing. A running receiver takes them; without one they go into DATA directly.

    Example: spanloop import langfuse observations_v2/*.jsonl.gz scores/*.jsonl.gz

    Example: spanloop import openai stored-completions.json fine-tuning.jsonl

    Parameters
    ----------
    vendor
        Whose files they are.
    files
        Files to import; scores and feedback beside the traces they judge.
    data
        Directory that keeps everything.
    json
        Print the run report on stdout.
    """
    from receiver.history.importing import import_history

    report = RunReport("import", {"vendor": vendor, "data": str(data), "files": [str(path) for path in files]})
    with report.phase("import"):
        outcome = import_history(vendor, files, data, redaction.redactor(build))
    counts = {name: getattr(outcome, name) for name in ("rows", "imported", "spans", "scores")}
    report.update(**counts, refused=dict(outcome.refused), left_out=dict(outcome.left_out))
    log.info("imported", **counts, refused=outcome.refused.total())
    if json:
        report.print()
        return
    lines = [
        *counts.items(),
        *((f"refused: {reason}", count) for reason, count in outcome.refused.most_common()),
        *((f"left out of a row: {reason}", count) for reason, count in outcome.left_out.most_common()),
    ]
    sys.stdout.writelines(f"{count:>10}  {what}\n" for what, count in lines)
