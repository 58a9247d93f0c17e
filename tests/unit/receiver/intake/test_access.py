"""Who sent a request, and what becomes of it when that cannot be told."""

from pathlib import Path

import pytest

from foundation.web.keys import KeysUnreadable, Scope, Unauthenticated, create_key, keys_path, revoke_key
from receiver.intake.access import ANYONE, Access


def make_access(data: Path, *, needs_certificate: bool = False) -> Access:
    return Access(data, token="token", needs_certificate=needs_certificate)


def test_without_keys_everybody_here_may_do_everything(tmp_path: Path) -> None:
    """Unless certificates are demanded."""
    assert make_access(tmp_path).identify({}, has_certificate=False) == ANYONE
    assert make_access(tmp_path).is_open
    guarded = make_access(tmp_path, needs_certificate=True)
    assert not guarded.is_open
    with pytest.raises(Unauthenticated):
        guarded.identify({}, has_certificate=False)


def test_the_token_of_the_run_opens_everything_and_nothing_like_it_does(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are compared like others."""
    create_key(tmp_path, name="agents", project="shop", scopes=[Scope.INGEST])
    access = make_access(tmp_path)

    assert access.identify({"authorization": "Bearer token"}, has_certificate=False).is_local
    for wrong in ("Bearer toke", "Bearer \udcff", "Basic token", ""):
        with pytest.raises(Unauthenticated):
            access.identify({"authorization": wrong}, has_certificate=False)


def test_a_running_receiver_never_opens_again(tmp_path: Path) -> None:
    """The last key revoked, the file gone, and even the lock gone: it has seen keys."""
    key = create_key(tmp_path, name="agents", project="shop", scopes=[Scope.INGEST])
    access = make_access(tmp_path)
    assert access.identify({"x-api-key": key}, has_certificate=False).project == "shop"
    revoke_key(tmp_path, key.split("_")[1])
    with pytest.raises(Unauthenticated):
        access.identify({"x-api-key": key}, has_certificate=False)
    keys_path(tmp_path).unlink()
    assert access.refusal is not None
    with pytest.raises(KeysUnreadable):
        access.identify({"x-api-key": key}, has_certificate=False)
    (tmp_path / "keys.lock").unlink()
    with pytest.raises(Unauthenticated):
        access.identify({}, has_certificate=False)
    assert not access.is_open
