"""Finds settings that nobody reads: a misspelt table in spanloop.toml, a misspelt SPANLOOP_ variable.

The command line checks the options of the command it runs. What it does not see are settings of other commands and of
commands that do not exist; a typo there would change nothing and say nothing.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from foundation.errors import SettingsError
from foundation.web import places

PREFIX = "SPANLOOP_"
FILE = "spanloop.toml"
LISTS = {("etl", "dialects")}
"""Tables that are no command's: lists of entries, which their stage checks when it reads them."""

OTHERS = ("SPANLOOP_EXPORTER_",)
"""Variables of the exporter, which reads them in the agent's process."""


def find_settings_file(directory: Path) -> Path | None:
    """Return the settings file of a directory: its own, else the nearest one above."""
    return next((path for place in (directory, *directory.parents) if (path := place / FILE).is_file()), None)


def is_set(*place: str) -> bool:
    """Tell whether environment or settings file set an option: `is_set("train", "run", "recipe")`."""
    if PREFIX + "_".join(place).upper() in os.environ:
        return True
    path = find_settings_file(Path.cwd())
    content: Any = {} if path is None else tomllib.loads(path.read_text())
    for name in place:
        found = {key.replace("-", "_"): value for key, value in content.items()} if isinstance(content, dict) else {}
        if name not in found:
            return False
        content = found[name]
    return True


def check_file(path: Path, app: App) -> None:
    """Raise for a settings file that is not TOML or sets what no command reads."""
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    _check_table(content, app, path, ())


def _check_table(table: Mapping[str, Any], app: App, path: Path, place: tuple[str, ...]) -> None:
    commands = _commands(app)
    for key, value in table.items():
        if (*place, key) in LISTS:
            continue
        if key in commands:
            if not isinstance(value, dict):
                raise SettingsError(f"{path}: {'.'.join((*place, key))} is a command, so it must be a table")
            _check_table(value, app[key], path, (*place, key))
        else:
            known = [*commands, *(name.replace("-", "_") for name in _options(app))]
            if key.replace("-", "_") not in known:
                raise _unknown(f"{path}: no setting {'.'.join((*place, key))}", key, known, ".".join(place))


def check_environment(environment: Mapping[str, str], app: App) -> None:
    """Raise for a SPANLOOP_ variable that no command reads."""
    ours = [name for name in environment if name.startswith(PREFIX) and not name.startswith(OTHERS)]
    if not ours:
        return
    known = sorted({f"{PREFIX}LOG_FORMAT", *places.VARIABLES, *_variables(app, PREFIX)})
    for name in ours:
        if name not in known:
            raise _unknown(f"environment: no setting {name}", name, known, "")


def _variables(app: App, prefix: str) -> Iterator[str]:
    yield from (prefix + name.replace("-", "_").upper() for name in _options(app))
    for command in _commands(app):
        yield from _variables(app[command], f"{prefix}{command.replace('-', '_').upper()}_")


def _commands(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _options(app: App) -> list[str]:
    if app.default_command is None:
        return []
    arguments = app.assemble_argument_collection(parse_docstring=False)
    return [name.removeprefix("--") for argument in arguments for name in argument.names if name.startswith("--")]


def _unknown(problem: str, name: str, known: list[str], place: str) -> SettingsError:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    full = ".".join(filter(None, (place, nearest[0]))) if nearest else None
    return SettingsError(problem, hint=f"Did you mean {full}?" if full else f"Known here: {', '.join(known)}")
