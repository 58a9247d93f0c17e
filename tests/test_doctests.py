"""The examples in docstrings are true."""

import doctest
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PLACES = ("foundation", "otel_exporter", "receiver", "etl", "train", "serve", "spanloop", "examples")
MODULES = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py") if "\n    >>> " in path.read_text())


def load(path: Path) -> ModuleType:
    """Import a package's module by its name, a script of the calculator by its path."""
    relative = path.relative_to(ROOT).with_suffix("")
    if relative.parts[:2] != ("examples", "calculator"):
        return importlib.import_module(".".join(relative.parts))
    spec = importlib.util.spec_from_file_location(f"doctest_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_docstrings(path: Path) -> None:
    """Each does what it shows."""
    result = doctest.testmod(load(path), optionflags=doctest.ELLIPSIS)

    assert result.attempted > 0
    assert result.failed == 0
