"""Stages as forks: what is loaded beforehand exists."""

from importlib.util import find_spec

from spanloop.warm import PRELOADED


def test_what_is_loaded_beforehand_is_there() -> None:
    """The fork server passes over what it cannot import, and a stage would then import it every time."""
    ours = [name for name in PRELOADED if not name.startswith(("torch", "transformers"))]

    assert [name for name in ours if find_spec(name) is None] == []
