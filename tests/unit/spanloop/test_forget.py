"""Who is meant, and what an empty value means: nobody."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from receiver.schema import connect
from spanloop.forget import _facts, _find, _names, forget
from tests.export_requests import attribute, span
from tests.unit.receiver.store.test_landing import Landing


def trace(number: int) -> bytes:
    return number.to_bytes(16, "big")


def store(data: Path, *attributes: dict[str, str]) -> None:
    """Store a trace of one span for each of these."""
    landing = Landing(data)
    for number, one in enumerate(attributes, 1):
        landing.arrive(span(number, trace_id=trace(number), attributes=[attribute(*pair) for pair in one.items()]))
    landing.store.land()
    landing.store.close()


def test_a_user_without_a_session_takes_nobody_along(tmp_path: Path) -> None:
    """Some clients write an empty session id: all who have one would else be one session."""
    store(
        tmp_path,
        {"user.id": "alice", "session.id": "", "gen_ai.response.id": ""},
        {"user.id": "bob", "session.id": ""},
        {"user.id": "alice", "session.id": "s1", "gen_ai.response.id": "r1"},
        {"user.id": "", "session.id": "s1"},
    )

    reader = connect(tmp_path)
    found = _find(reader, {"alice"}, set(), [])
    names = _names(reader, found)
    reader.close()

    assert sorted(int(trace_id, 16) for _, trace_id in found) == [1, 3, 4]
    assert names == {"r1"}


def test_facts_are_found_in_json_within_texts() -> None:
    """However deep a client put the user; nothing and an empty text are no facts."""
    text = '{"metadata": "{\\"user\\": {\\"id\\": 7, \\"name\\": null}}", "session.id": "", "tags": ["a"]}'

    found = _facts(text)

    assert ("id", "7") in found
    assert ("tags", "a") in found
    assert not [value for _, value in found if value in {"", "null"}]


@pytest.mark.parametrize("asked", [{"user": ("",)}, {"attribute": ("tenant=",)}, {"attribute": ("=x",)}, {}])
def test_a_variable_that_was_not_set_forgets_nothing(tmp_path: Path, asked: dict[str, tuple[str, ...]]) -> None:
    """`--user "$USER_ID"` in a script."""
    with pytest.raises(SettingsError):
        forget(data=tmp_path, **asked)
