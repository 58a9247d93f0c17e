"""Runs in which something is NaN, infinite or huge: nothing that is not finite is ever published.

Faults stand in the data, the model, the settings and, by hooks, in gradients on their way. `make reliability` makes a
thousand such runs.
"""

import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

import train.equipment
from foundation.errors import SpanloopError
from foundation.report import RunReport
from tests.fakes import tiny_model
from tests.logged import bandit, publish
from tests.scale import times
from train.plan import make_plan, read_limits
from train.run import train as run
from train.settings import TrainConfig

RUNS = times(short=8, long=1000)
WILD = (math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45)


def spoil_data(choose: random.Random, rows: list[dict[str, Any]]) -> None:
    """Outcomes, log-probabilities and temperatures that no honest producer writes, in some rows."""
    for row in choose.sample(rows, choose.choice([1, 8, len(rows)])):
        match choose.randrange(3):
            case 0:
                row["outcome"] = choose.choice(WILD)
            case 1:
                row["behavior_logprobs"] = [choose.choice([*WILD, 5.0])]
            case 2:
                row["temperature"] = choose.choice([*WILD, 0.0, 1e-9, -1.0])


def spoil_model(choose: random.Random, model: Path) -> None:
    """One weight, or a whole tensor."""
    weights = load_file(model / "model.safetensors")
    name = choose.choice(sorted(weights))
    if choose.random() < 0.5:
        weights[name].view(-1)[0] = choose.choice(WILD)
    else:
        weights[name].fill_(choose.choice(WILD))
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def wild_settings(choose: random.Random) -> dict[str, Any]:
    """Rates and bounds as a slip of the hand makes them, with the gates opened wide."""
    drawn = {
        "learning_rate": choose.choice([1e-3, 1.0, 1e6, 1e30, 3e38]),
        "kl_budget": choose.choice([0.1, 1.0, 1e6, 1e300]),
        "max_mismatch": choose.choice([1.0, 1e300]),
        "max_grad_norm": choose.choice([1.0, 1e30]),
        "weight_decay": choose.choice([0.0, 1e30]),
        "clip_high": choose.choice([0.2, 1e30]),
        "reference_kl": choose.choice([0.0, 1e30]),
        "loss": choose.choice(["ppo", "cispo", "awr", "dapo"]),
        "optimizer": choose.choice(["adamw", "standout"]),
        "baseline": choose.choice(["auto", "group_mean", "leave_one_out"]),
    }
    return {name: drawn[name] for name in choose.sample(sorted(drawn), choose.randrange(5))}


class Hooked:
    """Sets parts of gradients to what is not finite, now and then."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor | None:
        if self.choose.random() > 0.02:
            return None
        gradient = gradient.clone()
        gradient.view(-1)[0] = self.choose.choice(WILD)
        return gradient


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_nothing_that_is_not_finite_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run ends in a checkpoint of finite weights and numbers, or in an error of ours; both come about."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    sound = tiny_model(tmp_path / "sound")
    honest = bandit(sound, num_tasks=16, attempts=4, rewarded=130)
    opened = train.equipment.open_policy
    ends = Counter[str]()
    for number in range(RUNS):
        choose = random.Random(f"{seed}/{number}")
        here = tmp_path / str(number)
        model = Path(shutil.copytree(sound, here / "model"))
        rows = [dict(row) for row in honest]
        kinds = choose.sample(["data", "model", "settings", "gradient"], choose.choice([1, 1, 2]))
        if "data" in kinds:
            spoil_data(choose, rows)
        if "model" in kinds:
            spoil_model(choose, model)
        settings = wild_settings(choose) if "settings" in kinds else {}
        hook = Hooked(choose) if "gradient" in kinds else None

        def open_policy(*arguments: Any, hook: Hooked | None = hook) -> Any:
            policy = opened(*arguments)
            for weight in policy.parameters() if hook is not None else ():
                if weight.requires_grad:
                    weight.register_hook(hook)
            return policy

        monkeypatch.setattr("train.run.open_policy", open_policy)
        try:
            config = TrainConfig(data=publish(here / "data", rows), model=model, **settings)
            vocabulary_size, max_length = read_limits(model)
            plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
            checkpoint = run(config, plan, RunReport("train run", {}))
        except SpanloopError:
            ends["refused"] += 1
        except ValidationError:  # which the command line makes a SettingsError of
            ends["settings"] += 1
        else:
            weights = load_file(checkpoint / "model.safetensors")
            assert all(bool(weight.isfinite().all()) for weight in weights.values()), (number, kinds, settings)
            json.loads((checkpoint / "manifest.json").read_text(), parse_constant=pytest.fail)
            ends["published"] += 1
        shutil.rmtree(here)
    print(dict(ends))
    assert RUNS < 100 or min(ends["refused"], ends["published"]) > RUNS // 10
