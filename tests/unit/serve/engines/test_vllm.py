"""vLLM's command line and variables, by what was asked for. Nothing here starts it."""

import json
from pathlib import Path

import pytest

from serve.engines import vllm
from serve.engines.vllm import VllmEngine


def engine(tmp_path: Path, *extra: str, rank: int = 0) -> VllmEngine:
    made = VllmEngine(tmp_path / "model", "base", tmp_path / "log", extra)
    made.max_adapter_rank = rank
    return made


def after(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_evidence_is_of_the_distribution_that_was_sampled_from(tmp_path: Path) -> None:
    """After temperature and truncation; and no default of the model's own stands between."""
    command = engine(tmp_path).command()

    assert after(command, "--logprobs-mode") == "processed_logprobs"
    assert after(command, "--generation-config") == "vllm"
    assert "--enable-lora" not in command


def test_what_the_user_adds_comes_last_and_so_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over what only the CPU build needs."""
    monkeypatch.setattr(vllm, "is_cpu_build", lambda: True)

    command = engine(tmp_path, "--kv-cache-memory-bytes", "7").command()

    assert command[-2:] == ["--kv-cache-memory-bytes", "7"]
    assert command.index("--enforce-eager") < len(command) - 2


@pytest.mark.parametrize(("rank", "asked"), [(1, "8"), (16, "16"), (17, "32"), (9999, "512")])
def test_adapters_get_the_next_rank_that_vllm_takes(tmp_path: Path, rank: int, asked: str) -> None:
    """Two at once: one that answers, and the next while it is proved."""
    made = engine(tmp_path, rank=rank)

    assert after(made.command(), "--max-lora-rank") == asked
    assert after(made.command(), "--max-loras") == "2"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in made.environment()
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in engine(tmp_path).environment()


def test_only_an_adapter_over_this_base_of_a_rank_it_was_started_for_is_added(tmp_path: Path) -> None:
    """Anything else needs another engine."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    fitting = tmp_path / "fitting"
    fitting.mkdir()
    (fitting / "adapter_config.json").write_text(
        json.dumps({"r": 16, "base_model_name_or_path": str(tmp_path / "model")})
    )

    assert engine(tmp_path, rank=16).can_add(fitting)
    assert not engine(tmp_path, rank=8).can_add(fitting)
    assert not engine(tmp_path, rank=16).can_add(tmp_path / "model")
