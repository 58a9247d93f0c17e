"""The console script: mounts every stage's commands and imports a stage only when one of its commands runs."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter
from cyclopts.config import Env, Toml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from foundation import narration
from foundation.directories import disk_refusal, unusable
from foundation.errors import ExitStatus, SpanloopError
from foundation.web import places
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

for position, (name, place, what) in enumerate(
    (
        ("receiver", "receiver.cli:app", "OTLP in, DuckDB out."),
        ("etl", "etl.cli:app", "Spans in, transitions out."),
        ("train", "train.cli:app", "Transitions in, checkpoint out."),
        ("serve", "serve.cli:app", "Checkpoint in, endpoint out."),
    )
):
    app.command(place, name=name, group=stages, help=what, sort_key=position)

for position, (name, place, what) in enumerate(
    (
        ("demo", "spanloop.demo.run:demo", "Run the whole loop once: a stock agent gets better from its own traces."),
        ("doctor", "spanloop.doctor.run:doctor", "Look for what stands between the agents and a trained model."),
        ("sql", "spanloop.sql:sql", "Run one SELECT over spans, log records and the ETL's tables."),
        ("reward", "spanloop.reward:reward", "Say how well a trace went."),
        ("import", "receiver.history.command:import_", "Store what another product recorded, out of its exports."),
        ("prompts", "spanloop.prompts.command:app", "Versions of agents' system messages."),
        ("forget", "spanloop.forget:forget", "Take a user, a trace or an attribute out of everything that is kept."),
        ("backup", "spanloop.backup:backup", "Copy everything DATA holds into a directory that can take its place."),
        ("store", "spanloop.store.command:app", "Days, tables, checkpoints and reports in a store machines share."),
        ("up", "spanloop.up:up", "Start receiver and page together."),
        ("page", "spanloop.page.command:page", "Show traces, rewards, nights and checkpoints in a browser."),
        ("distill", "train.distill.command:distill", "Teach a model of your own to answer as a hosted one did."),
        ("replay", "spanloop.replay.run:replay", "Ask logged states anew, of another model or under another prompt."),
        ("nightly", "spanloop.nightly.run:nightly", "Run a night: transitions, a checkpoint, its gates, promotion."),
    )
):
    app.command(place, name=name, group=roof, help=what, sort_key=position)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_format: Annotated[Literal["auto", "text", "json"], Parameter(name="--log-format", group="Narration")] = "auto",
    receiver: Annotated[tuple[str, ...], Parameter(group="Places")] = (),
    control: Annotated[str | None, Parameter(group="Places")] = None,
    key_file: Annotated[Path | None, Parameter(group="Places")] = None,
    store: Annotated[str | None, Parameter(group="Places")] = None,
) -> object:
    """Run one command.

    Parameters
    ----------
    log_format
        How narration on stderr looks: readable lines, or one JSON object a line.
    receiver
        URL of a receiver on another machine, http(s)://HOST:4318, to read from, or of a store, whose sealed days are
        read in its place. Default: the one that holds DATA. The ETL and SQL read several as one: repeat it.
    control
        URL of a gateway's control endpoint on another machine. Default: the one of DATA.
    key_file
        File with the key that both are shown, of scope admin.
    store
        URL of the store that machines share: file:///DIRECTORY, s3://BUCKET/PREFIX, gs://… or az://…
    """
    places.name_places(receiver, control, key_file, store)
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
    except OSError as error:
        if error.filename is None:
            refusal = disk_refusal(error)
            if refusal is None:
                raise
        else:
            refusal = unusable(Path(os.fsdecode(error.filename)), error)  # a path somebody named, or one below it
        sys.stderr.write(f"spanloop: {refusal}\n")
        sys.exit(refusal.exit_status)


def _explain(error: CycloptsError) -> str:
    """Say which setting has which value and why it cannot be, where a settings model refused it."""
    refusal = error.__cause__
    argument = error.argument
    if isinstance(error, MissingArgumentError) and argument is not None and argument.field_info.is_positional:
        # Said as it is written: cyclopts calls it by an option's name.
        return f"spanloop {' '.join(error.command_chain or ())} needs {argument.name.lstrip('-').upper()}"
    if not isinstance(refusal, ValidationError):
        return str(error)
    return "\n".join(map(_explain_one, refusal.errors()))


def _explain_one(detail: ErrorDetails) -> str:
    name = ".".join(map(str, detail["loc"]))
    flag = "--" + name.split(".")[0].replace("_", "-")
    return f"{name} = {str(detail['input'])[:200]!r}: {detail['msg']} ({flag})"
