"""Trackers that are asked for."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.report import RunReport
from train.plan import make_plan, read_limits
from train.run import train
from train.settings import TrainConfig


def test_trackers_that_are_not_there_are_refused(model: Path, checkpoint: Path) -> None:
    """Rather than passed over, as Accelerate does."""
    data = checkpoint.parents[1]
    for name, message in (("comet_ml", "cannot be imported"), ("nonsense", "log_with")):
        config = TrainConfig(data=data, model=model, log_with=name)
        vocabulary_size, max_length = read_limits(model)
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
        with pytest.raises(SettingsError, match=message):
            train(config, plan, RunReport("train run", {}))
