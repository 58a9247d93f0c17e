"""One tiny model for all tests of the trainer."""

from pathlib import Path

import pytest

from foundation.report import RunReport
from tests.fakes import tiny_model
from tests.logged import bandit, publish
from train.plan import make_plan, read_limits
from train.run import train
from train.settings import TrainConfig


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a model with random weights; nobody changes it."""
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def checkpoint(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that was trained with a tracker; nobody changes it."""
    data = publish(tmp_path_factory.mktemp("data"), bandit(model, num_tasks=32, attempts=4, rewarded=130))
    config = TrainConfig(data=data, model=model, learning_rate=1e-3, epochs=2, kl_budget=9, log_with="tensorboard")
    vocabulary_size, max_length = read_limits(model)
    plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
    path = train(config, plan, RunReport("train run", {}))
    assert path is not None
    return path
