from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.web.keys import Forbidden, Unauthenticated
from serve.gateway.access import Access
from tests.serving import write_keys


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_without_a_key_of_ours_everybody_passes(tmp_path: Path) -> None:
    """Whatever clients send for want of a key; keys of other scopes change nothing."""
    access = Access(tmp_path)
    access.check(bearer("anything"))

    write_keys(tmp_path, a1=["ingest"])

    access.check({})
    assert not access.has_keys


def test_with_a_key_every_request_needs_one(tmp_path: Path) -> None:
    """Known and of the right scope, in either header; a revoked one is refused at once."""
    texts = write_keys(tmp_path, a1=["serve"], b2=["ingest"])
    access = Access(tmp_path)

    access.check(bearer(texts["a1"]))
    access.check({"x-api-key": texts["a1"]})
    for headers in ({}, bearer("sl_a1_guess"), bearer("nonsense"), bearer("sl_zz_x"), bearer("")):
        with pytest.raises(Unauthenticated):
            access.check(headers)
    with pytest.raises(Forbidden):
        access.check(bearer(texts["b2"]))

    write_keys(tmp_path, c3=["serve"])
    with pytest.raises(Unauthenticated):
        access.check(bearer(texts["a1"]))


def test_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    """No key must not mean anyone."""
    (tmp_path / "keys.json").write_text("{")

    with pytest.raises(SettingsError, match="damaged"):
        Access(tmp_path)
