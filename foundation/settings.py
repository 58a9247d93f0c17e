"""The base of every settings model (frozen, strict about unknown keys, documented), and settings that stages share.

A setting is declared once. Its docstring is the `--help` text, the reference page and the JSON schema. The command line
resolves flag, then environment, then `spanloop.toml`, then default; a stage only ever sees the finished model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from foundation.errors import SettingsError

R = TypeVar("R")

DEFAULT_DATA = Path("spanloop-data")
"""Where everything is kept unless `--data` says otherwise: below the working directory."""


class Settings(BaseModel):
    """Settings of one command."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Redaction(Settings):
    """What is taken out of spans and log records before anything is kept of them."""

    redact: tuple[str, ...] = ()
    """Kinds to replace by placeholders such as <EMAIL_4821>: `all`, or of key, secret, email, card, iban, ssn, phone;
    `presidio` adds names of people, `presidio-patterns` what Presidio finds without a model. Default: none. Token ids
    go where text was redacted."""

    redact_names: tuple[str, ...] = ()
    """Further names of fields whose values are secrets."""

    redact_patterns: dict[str, str] = Field(default={})
    """Regular expressions of kinds of your own, by kind in capital letters: `--redact-patterns.TICKET 'T-[0-9]+'`."""

    redact_key_file: Path | None = None
    """File with the key of the placeholders, the same one that agents use: it gives the same placeholders everywhere.
    Default: no key, and shorter numbers."""

    @field_validator("redact", "redact_names", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        found = value if isinstance(value, list | tuple) else [value]
        return [part for each in found for part in (each.split(",") if isinstance(each, str) else [each])]

    def redactor(self, build: Callable[..., R]) -> R:
        """Return what `otel_exporter.redaction.build` makes of these settings: None where nothing is asked for."""
        try:
            key = "" if self.redact_key_file is None else self.redact_key_file.read_text().strip()
            return build(self.redact, patterns=self.redact_patterns, names=self.redact_names, key=key)
        except OSError as error:
            raise SettingsError(f"{self.redact_key_file} cannot be read: {error.strerror}") from None
        except (ValueError, ImportError) as error:
            raise SettingsError(f"redaction: {error}") from None
