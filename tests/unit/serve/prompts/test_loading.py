"""Prompts from disk when a gateway starts."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from foundation.state import StateUnreadable
from serve.prompts import registry
from serve.prompts.loading import leave, load, open_prompting, pins_path
from serve.prompts.schema import version_path


def test_a_version_in_force_that_is_gone_is_said_and_any_other_left_out(tmp_path: Path) -> None:
    """Nobody may be answered under what cannot be read; nobody asks for what is neither live nor tried."""
    for text in ("b", "c"):
        registry.keep(tmp_path, "solver", text, base=None if text == "c" else "a")
    registry.promote(tmp_path, "solver", 2)
    version_path(tmp_path, "solver", 1).write_text("{")
    (known,) = load(tmp_path)
    assert list(known.texts) == [2]
    version_path(tmp_path, "solver", 2).write_text("{")
    with pytest.raises(StateUnreadable):
        load(tmp_path)


def test_nothing_kept_and_damaged_pins_are_no_reason_not_to_start(tmp_path: Path) -> None:
    """Conversations may then change their prompt once."""
    assert open_prompting(tmp_path).known == {}
    registry.keep(tmp_path, "solver", "b", base="a")
    pins_path(tmp_path).write_text("{")
    assert list(open_prompting(tmp_path).known) == ["solver"]


def test_conversations_outlive_a_gateway_and_a_full_disk_stops_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left behind is there at the next start; where it cannot be, the rest of the end goes on."""
    registry.keep(tmp_path, "solver", "b", base="a")
    prompting = open_prompting(tmp_path)
    request = {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "hi"}]}
    prompting.apply(request, agent="solver", unit=b"u", episode="e", user=None)

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("serve.prompts.loading.write_atomically", refuse)
        leave(tmp_path, prompting)
    assert not pins_path(tmp_path).exists()

    leave(tmp_path, prompting)
    assert open_prompting(tmp_path).pins() == prompting.pins() != {}
