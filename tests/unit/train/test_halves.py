"""Weights in halves: what is served is bfloat16, and both halves together are float32, to the last bit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from structlog.testing import capture_logs

from foundation.report import RunReport
from serve.change.integrity import check_integrity
from tests.logged import bandit, publish
from train.engine.policy import load_policy
from train.equipment import open_policy, saves_halves
from train.halves import halve, join, restore, split
from train.plan import make_plan, read_limits
from train.run import train
from train.schema import Manifest, read_manifest
from train.settings import TrainConfig


def test_any_finite_number_comes_back_and_its_half_is_as_near_as_bfloat16_can_be() -> None:
    """Random bits, ties between two halves, both zeros, the smallest there are."""
    bits = torch.randint(-(2**31), 2**31, (100_000,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    ties = torch.arange(-300, 300, dtype=torch.int32) * 65536 + 32768
    weight = torch.cat([bits, ties, torch.tensor([0, -(2**31), 1, 127 << 23], dtype=torch.int32)]).view(torch.float32)
    weight = weight[weight.isfinite() & (weight.abs() < 3e38)]

    upper, rest = split(weight)

    assert torch.equal(join(upper, rest).view(torch.int32), weight.view(torch.int32))
    nearest = weight.to(torch.bfloat16).float()
    assert bool(((upper.float() - weight).abs() <= (nearest - weight).abs()).all())


@pytest.fixture(scope="module")
def published(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One training, saved in float32 and in halves."""
    here = tmp_path_factory.mktemp("halves")
    data = publish(here / "data", bandit(model, num_tasks=32, attempts=4, rewarded=130))
    found = []
    for dtype in ("float32", "bfloat16"):
        config = TrainConfig(data=data, model=model, out=here / dtype, save_dtype=dtype, kl_budget=9)
        vocabulary_size, max_length = read_limits(model)
        plan = make_plan(config, vocabulary_size=vocabulary_size, max_length=max_length)
        checkpoint = train(config, plan, RunReport("train run", {}))
        assert checkpoint is not None
        found.append(checkpoint)
    return found[0], found[1]


def test_a_checkpoint_in_halves_is_half_as_large_to_serve_and_trained_on_from_float32(
    published: tuple[Path, Path],
) -> None:
    whole, halves = published
    served = load_file(halves / "model.safetensors")

    assert {weight.dtype for weight in served.values()} == {torch.bfloat16}
    assert json.loads((halves / "config.json").read_bytes())["dtype"] == "bfloat16"
    assert check_integrity(halves) == read_manifest(halves)
    onward = open_policy(TrainConfig(model=halves), Accelerator(cpu=True)).state_dict()
    assert all(torch.equal(onward[name], weight) for name, weight in load_policy(whole).state_dict().items())


def test_probes_and_digest_are_of_what_is_served(published: tuple[Path, Path]) -> None:
    whole, halves = (read_manifest(each) for each in published)

    assert whole.weights_digest != halves.weights_digest
    assert whole.probes[0].logprobs != halves.probes[0].logprobs
    assert whole.probes[0].logprobs == pytest.approx(halves.probes[0].logprobs, abs=0.2)


def test_the_next_checkpoint_takes_no_remainder_over(published: tuple[Path, Path], tmp_path: Path) -> None:
    """It would be of other weights."""
    from datetime import UTC, datetime

    from train.engine.checkpoint import write_checkpoint

    written = write_checkpoint(
        load_policy(published[0]).save_pretrained,
        published[1],
        tmp_path,
        metrics=b"",
        now=datetime.now(UTC),
        describe=lambda _directory, name, digest: Manifest.model_validate(
            read_manifest(published[1]).model_dump() | {"checkpoint_id": name, "weights_digest": digest}
        ),
    )

    assert not list(written.glob("*.remainder"))


def test_without_remainders_or_under_other_names_the_served_weights_are_what_there_is(
    model: Path, published: tuple[Path, Path], tmp_path: Path
) -> None:
    here = Path(shutil.copytree(published[1], tmp_path / "here"))
    policy = load_policy(here)
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    policy.state_dict = lambda: {"other": torch.zeros(1)}  # type: ignore[method-assign]
    with capture_logs() as logs:
        restore(policy, here)
    assert [line["log_level"] for line in logs] == ["warning"]
    del policy.state_dict
    (here / "model.remainder").unlink()
    restore(policy, here)

    assert all(torch.equal(before[name], weight) for name, weight in policy.state_dict().items())


def test_what_is_no_float32_stays(model: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(model, tmp_path / "here"))
    load_policy(here, dtype=torch.float16).save_pretrained(here)
    before = load_file(here / "model.safetensors")
    halve(here)
    assert all(torch.equal(before[name], weight) for name, weight in load_file(here / "model.safetensors").items())


def test_halves_are_the_default_where_computation_is_in_half_precision(model: Path) -> None:
    config = TrainConfig(model=model)
    assert saves_halves(config, "bf16")
    assert not saves_halves(config, "no")
    assert not saves_halves(config.model_copy(update={"save_dtype": "float32"}), "bf16")
