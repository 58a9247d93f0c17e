"""What a run will take: by hand for a small shape, and what is said and done where it does not fit."""

from pathlib import Path

import pytest
from accelerate import Accelerator

from foundation.errors import SettingsError
from tests.fakes import tiny_model
from tests.logged import bandit, publish
from train import memory
from train.memory import OTHER_BYTES, SLACK, fit_memory, footprint, free_bytes
from train.plan import Plan, make_plan, read_limits
from train.settings import TOKENS_PER_BATCH, TrainConfig

MIB = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plan(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    data = publish(tmp_path_factory.mktemp("data") / "data", bandit(model, num_tasks=100, attempts=4, rewarded=130))
    vocabulary_size, max_length = read_limits(model)
    return make_plan(TrainConfig(data=data, model=model), vocabulary_size=vocabulary_size, max_length=max_length)


def test_a_small_model_by_hand(model: Path) -> None:
    """Width 32, two layers, 2 heads and 1 of keys of 32, 64 inside, 265 ids."""
    found = footprint(TrainConfig(model=model), device_type="cpu", is_half=False)
    layer = (64 + 32 + 32) * 32 + 64 * 32 + 3 * 32 * 64 + 2 * 32 + 2 * 32  # projections, inside, norms
    weights = 4 * (265 * 32 + 2 * layer + 32)
    assert (found.weights, found.trained, found.optimizer, found.num_copies) == (weights, weights, 2 * weights, 1)
    assert found.per_token == 2 * ((6 * 32 + 2 * 96) * 4 + (2 * 96 + 4 * 64) * 4)


def test_checkpointing_adapters_and_gpus_take_less(model: Path) -> None:
    full = footprint(TrainConfig(model=model), device_type="cpu", is_half=False)
    on_gpu = footprint(TrainConfig(model=model), device_type="cuda", is_half=True)
    adapted = footprint(TrainConfig(model=model, adapter="lora", lora_rank=2), device_type="cpu", is_half=False)
    assert on_gpu.num_copies == 0
    assert on_gpu.per_token < full.per_token
    assert adapted.trained < full.trained / 2
    assert adapted.weights > full.weights


def test_as_many_tokens_as_fit(model: Path) -> None:
    """And not one doubling more."""
    found = footprint(TrainConfig(model=model), device_type="cpu", is_half=False)
    for limit in (OTHER_BYTES * SLACK + 400 * MIB, 4000 * MIB, 16_000 * MIB):
        tokens = found.tokens_within(limit)
        assert tokens.bit_count() == 1
        assert found.total(tokens) <= limit < found.total(2 * tokens) + 1
    assert found.tokens_within(OTHER_BYTES) == 0


def limited(model: Path, num_bytes: float, **settings: object) -> TrainConfig:
    return TrainConfig(model=model, max_memory=num_bytes / 2**30, **settings)


def test_forward_passes_are_made_small_enough(model: Path, plan: Plan) -> None:
    """By default; what was asked for is kept where it fits, and where a night has no more tokens than fit."""
    accelerator = Accelerator(cpu=True)
    found = footprint(TrainConfig(model=model), device_type="cpu", is_half=False)
    assert fit_memory(limited(model, 2**40), plan, accelerator) == TOKENS_PER_BATCH
    assert fit_memory(limited(model, found.total(512) + 1), plan, accelerator) == 512
    total = sum(len(sequence.ids) for sequence in plan.sequences)
    assert fit_memory(limited(model, found.total(total) + 1), plan, accelerator) == TOKENS_PER_BATCH
    assert fit_memory(limited(model, found.total(300) + 1, tokens_per_batch=300), plan, accelerator) == 300


def test_what_will_not_fit_is_refused_with_the_way_out(model: Path, plan: Plan) -> None:
    accelerator = Accelerator(cpu=True)
    found = footprint(TrainConfig(model=model), device_type="cpu", is_half=False)
    with pytest.raises(SettingsError) as refused:
        fit_memory(limited(model, found.total(256) + 1, tokens_per_batch=2048), plan, accelerator)
    assert refused.value.hint == "--tokens-per-batch 256 fits, and changes nothing else."
    with pytest.raises(SettingsError) as refused:
        fit_memory(limited(model, 100 * MIB), plan, accelerator)
    assert "--gradient-checkpointing" in str(refused.value.hint)
    assert "--adapter lora" in str(refused.value.hint)
    assert "0.1 may be used" in refused.value.message


def test_a_control_group_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    device = Accelerator(cpu=True).device
    unlimited = free_bytes(device)
    assert unlimited > 0
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes(device) > unlimited / 4
    (tmp_path / "memory.max").write_text("3000\n")
    assert free_bytes(device) == 2000
