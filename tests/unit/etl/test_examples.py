"""The examples in the docstrings say what the code does."""

import doctest
import importlib
import pkgutil

import pytest

import etl

MODULES = sorted(module.name for module in pkgutil.walk_packages(etl.__path__, prefix="etl."))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    """A reader may copy them."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
