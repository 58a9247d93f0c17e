"""The base of every settings model: frozen, strict about unknown keys, documented under each field.

A setting is declared once. Its docstring is the `--help` text, the reference page and the JSON schema. The command line
resolves flag, then environment, then `spanloop.toml`, then default; a stage only ever sees the finished model.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

DEFAULT_DATA = Path("spanloop-data")
"""Where everything is kept unless `--data` says otherwise: below the working directory."""


class Settings(BaseModel):
    """Settings of one command."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
