"""Keys: once made they are demanded for good, and a file that cannot be read lets nobody in."""

import json
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.web.keys import (
    Forbidden,
    KeyRing,
    KeysUnreadable,
    Scope,
    Unauthenticated,
    create_key,
    keys_path,
    read_keys,
    register_key,
    revoke_key,
)


def make(data: Path, *, name: str = "agents", project: str = "shop") -> str:
    return create_key(data, name=name, project=project, scopes=[Scope.INGEST])


def test_a_key_is_found_by_its_text_and_nothing_else(tmp_path: Path) -> None:
    """Neither a cut text nor one that is no UTF-8 passes for it."""
    key = make(tmp_path)
    ring = KeyRing(tmp_path)

    assert ring.find(key).project == "shop"
    for wrong in ("", key[:-1], "sl_00000000_x", "\udcff", f"{key}\udcff"):
        with pytest.raises(Unauthenticated):
            ring.find(wrong)


def test_revoking_the_last_key_shuts_everybody_out(tmp_path: Path) -> None:
    """No keys left is not the same as never any; that holds over a restart."""
    key = make(tmp_path)
    ring = KeyRing(tmp_path)
    revoke_key(tmp_path, key.split("_")[1])

    for later in (ring, KeyRing(tmp_path)):
        assert later.are_demanded
        with pytest.raises(Unauthenticated):
            later.find(key)


def test_a_file_of_keys_that_is_removed_lets_nobody_in(tmp_path: Path) -> None:
    """Neither the running server nor the next start takes its absence for an invitation."""
    make(tmp_path)
    ring = KeyRing(tmp_path)
    keys_path(tmp_path).unlink()

    assert ring.are_demanded
    with pytest.raises(KeysUnreadable, match="is gone"):
        ring.keys()
    with pytest.raises(KeysUnreadable, match="is gone"):
        KeyRing(tmp_path)
    assert KeyRing(tmp_path / "other").are_demanded is False


@pytest.mark.parametrize("damage", ["{", "[]", '{"keys": [{"id": 1}]}', '{"keys": null}'])
def test_a_damaged_file_is_refused_until_it_is_whole_again(tmp_path: Path, damage: str) -> None:
    """It is read anew at each request, so that mending it is enough."""
    key = make(tmp_path)
    whole = keys_path(tmp_path).read_bytes()
    ring = KeyRing(tmp_path)
    keys_path(tmp_path).write_text(damage)

    with pytest.raises(KeysUnreadable, match="damaged"):
        ring.find(key)
    keys_path(tmp_path).write_bytes(whole)
    assert ring.find(key).name == "agents"


def test_a_changed_project_is_noticed(tmp_path: Path) -> None:
    """The file has a checksum: a flipped bit moves nobody into another project."""
    make(tmp_path)
    document = json.loads(keys_path(tmp_path).read_bytes())
    document["keys"][0]["project"] = "shoq"
    keys_path(tmp_path).write_text(json.dumps(document))

    with pytest.raises(KeysUnreadable):
        read_keys(tmp_path)


def test_a_file_of_the_release_before_is_read(tmp_path: Path) -> None:
    """It has neither version nor checksum."""
    key = make(tmp_path)
    document = json.loads(keys_path(tmp_path).read_bytes())
    keys_path(tmp_path).write_text(json.dumps({"keys": document["keys"]}))

    assert KeyRing(tmp_path).find(key).project == "shop"


@pytest.mark.parametrize("value", ["", "  ", "x" * 201, "two\nlines", "nul\0"])
def test_names_and_projects_say_something_at_a_bounded_length(tmp_path: Path, value: str) -> None:
    """They go into every record of the log and into every row."""
    with pytest.raises(SettingsError, match="--name"):
        make(tmp_path, name=value)
    with pytest.raises(SettingsError, match="--project"):
        make(tmp_path, project=value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_an_older_release_with_an_endless_project_is_refused(tmp_path: Path) -> None:
    """It was accepted when it was made, and stopped the log."""
    key = make(tmp_path)
    document = json.loads(keys_path(tmp_path).read_bytes())
    document["keys"][0]["project"] = "x" * 66_000
    keys_path(tmp_path).write_text(json.dumps({"keys": document["keys"]}))

    with pytest.raises(Forbidden, match="66000"):
        KeyRing(tmp_path).find(key)


def test_the_file_is_private(tmp_path: Path) -> None:
    """Hashes are nobody's business either."""
    make(tmp_path / "data")

    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert keys_path(tmp_path / "data").stat().st_mode & 0o777 == 0o600


def test_keys_of_another_user_are_named_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not read or write them is told as whom to come."""
    make(tmp_path)

    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(KeysUnreadable, match="Permission denied") as unread:
            read_keys(tmp_path)
    monkeypatch.setattr("foundation.web.keys.exclusive", refuse)
    with pytest.raises(SettingsError, match="by this user") as unwritten:
        make(tmp_path)

    assert "chown" in str(unread.value.hint)
    assert "sudo" in str(unwritten.value.hint)


SECRET = "sl_0123abcd_" + "s" * 32


def register(data: Path, text: str = SECRET, *, scope: Scope = Scope.INGEST) -> None:
    register_key(data, text, name="cluster", project="shop", scopes=[scope])


def test_a_key_that_was_made_elsewhere_is_let_in_as_often_as_it_is_stated(tmp_path: Path) -> None:
    """A rollout states it each time, to every server that is to know it."""
    register(tmp_path)
    before = keys_path(tmp_path).read_bytes()
    register(tmp_path)

    assert keys_path(tmp_path).read_bytes() == before
    assert KeyRing(tmp_path).find(SECRET).project == "shop"
    assert SECRET.encode() not in before


def test_a_key_is_not_made_another_by_stating_it(tmp_path: Path) -> None:
    """Neither its scopes nor its secret change so: an id is one key."""
    register(tmp_path)
    for text, scope in ((SECRET, Scope.ADMIN), (SECRET[:-1] + "t", Scope.INGEST)):
        with pytest.raises(SettingsError, match="there is a key 0123abcd already"):
            register(tmp_path, text, scope=scope)
    assert len(read_keys(tmp_path)) == 1


@pytest.mark.parametrize("text", ["", "secret", SECRET[:-1], "sl_0123ABCD_" + "s" * 32, SECRET + "\n"])
def test_what_is_no_key_is_not_let_in(tmp_path: Path, text: str) -> None:
    """A password somebody chose is no key, and is not shown in the refusal."""
    with pytest.raises(SettingsError, match="the file holds no key") as refused:
        register(tmp_path, text)
    assert not keys_path(tmp_path).exists()
    assert not text or text not in str(refused.value)


def test_keys_of_a_later_release_are_not_guessed_at(tmp_path: Path) -> None:
    """Named, with its layout: a new field may be what makes a key worthless."""
    make(tmp_path)
    later = keys_path(tmp_path).read_text().replace('"version": 1', '"version": 2')
    keys_path(tmp_path).write_text(later)

    with pytest.raises(KeysUnreadable, match=r"keys\.json has layout 2"):
        read_keys(tmp_path)
