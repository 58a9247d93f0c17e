"""Redaction is set alike for whatever keeps something, and what makes no sense is a wrong setting."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.settings import Redaction
from otel_exporter.redaction import build
from receiver.settings import ReceiverConfig
from serve.settings import ServeConfig


def test_receiver_and_gateway_are_set_alike() -> None:
    """The same flags, with the same words about them."""
    settings = Redaction.model_fields

    assert set(settings) == {"redact", "redact_names", "redact_patterns", "redact_key_file"}
    for config in (ReceiverConfig, ServeConfig):
        assert {name: config.model_fields[name].description for name in settings} == {
            name: field.description for name, field in settings.items()
        }


def test_kinds_may_be_given_one_by_one_or_with_commas() -> None:
    """As a list in the file, repeated on the command line, in one variable of the environment."""
    for given in ("email,phone", ["email", "phone"], ["email,phone"]):
        assert Redaction.model_validate({"redact": given}).redact == ("email", "phone")


def test_nothing_asked_for_is_nothing() -> None:
    """Then nothing is looked at at all."""
    assert Redaction().redactor(build) is None


def test_what_makes_no_sense_is_a_wrong_setting(tmp_path: Path) -> None:
    """An unknown kind, a pattern that is none, a key file that is not there."""
    for settings in (
        {"redact": ("e-mail",)},
        {"redact_patterns": {"TICKET": "("}},
        {"redact": ("email",), "redact_key_file": tmp_path / "missing"},
    ):
        with pytest.raises(SettingsError):
            Redaction.model_validate(settings).redactor(build)
