"""One tiny model for all tests of the trainer."""

from pathlib import Path

import pytest

from tests.fakes import tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a model with random weights; nobody changes it."""
    return tiny_model(tmp_path_factory.mktemp("model"))
