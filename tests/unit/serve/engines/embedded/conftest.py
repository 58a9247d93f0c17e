"""The sampler that tests of answers share."""

from pathlib import Path

import pytest

from tests.fakes import tiny_model
from tests.unit.serve.engines.embedded.reading_aloud import ReadingAloud


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture(scope="module")
def speaker(path: Path) -> ReadingAloud:
    return ReadingAloud(path, "base")
