"""The console script: mounts every stage's commands and imports a stage only when one of its commands runs."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Env, Toml
from pydantic import ValidationError

from foundation import narration
from foundation.errors import ExitStatus, SpanloopError
from spanloop import unread

app = App(
    name="spanloop",
    help="Agents that already speak OpenTelemetry learn from their own traces.",
    version_flags=["--version"],
    config=[
        Env("SPANLOOP_", command=True),
        Toml("spanloop.toml", search_parents=True, allow_unknown=False),
    ],
    result_action="return_value",
)

stages = Group("Stages, in the order of the data", sort_key=0)
roof = Group("The whole loop", sort_key=1)

app.command("receiver.cli:app", name="receiver", group=stages, help="OTLP in, DuckDB out.")
app.command("etl.cli:app", name="etl", group=stages, help="Spans in, transitions out.")
app.command("train.cli:app", name="train", group=stages, help="Transitions in, checkpoint out.")
app.command("serve.cli:app", name="serve", group=stages, help="Checkpoint in, endpoint out.")
app.command("spanloop.sql:sql", name="sql", group=roof)
app.command("spanloop.reward:reward", name="reward", group=roof)
app.command("spanloop.nightly:nightly", name="nightly", group=roof)
app.command("spanloop.demo.run:demo", name="demo", group=roof)
app.command("spanloop.doctor:doctor", name="doctor", group=roof)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_format: Annotated[Literal["auto", "text", "json"], Parameter(name="--log-format", group="Narration")] = "auto",
) -> object:
    """Run one command.

    Parameters
    ----------
    log_format
        How narration on stderr looks: readable lines, or one JSON object a line.
    """
    narration.configure(log_format)
    return app(tokens, exit_on_error=False, print_error=False)


def main() -> None:
    """Run the command line and end the process with the status a scheduler can act on."""
    try:
        if settings_file := unread.find_settings_file(Path.cwd()):
            unread.check_file(settings_file, app)
        unread.check_environment(os.environ, app)
        app.meta(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        sys.stderr.write(f"spanloop: {_explain(error)}\n")
        sys.exit(ExitStatus.SETTINGS)
    except SpanloopError as error:
        sys.stderr.write(f"spanloop: {error}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(ExitStatus.DONE)


def _explain(error: CycloptsError) -> str:
    """Say which setting has which value and why it cannot be, where a settings model refused it."""
    refusal = error.__cause__
    if not isinstance(refusal, ValidationError):
        return str(error)
    return "\n".join(
        f"{'.'.join(map(str, detail['loc']))} = {detail['input']!r}: {detail['msg']}" for detail in refusal.errors()
    )
