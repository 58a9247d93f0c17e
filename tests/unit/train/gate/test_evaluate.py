"""What a checkpoint is judged on: its own agents' calls, against what it is compared with."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foundation.errors import SettingsError
from tests.fakes import tiny_model
from tests.logged import bandit, frame, publish, transition
from tests.serving import tiny_checkpoint
from train.data.logged import Episode, Logged
from train.engine.checkpoint import update_gate
from train.gate.evaluate import choose_versions, cluster_episodes, evaluate, newest
from train.schema import MANIFEST, model_version, read_manifest
from train.settings import Cluster, EvaluateConfig


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture
def child(tmp_path: Path) -> Path:
    """Return a checkpoint with other weights, made from nobody knows what."""
    return tiny_checkpoint(tmp_path / "child", seed=1)


def judged(data: Path, checkpoint: Path, **settings: Any) -> dict[str, Any]:
    return evaluate(EvaluateConfig(data=data, checkpoint=checkpoint, **settings))[1]


def heldout(base: Path, **fields: Any) -> list[dict[str, Any]]:
    rows = bandit(base, num_tasks=16, attempts=2, rewarded=130, split="heldout")
    return [row | {"policy_version": model_version(base)} | fields for row in rows]


def test_an_adapter_of_one_agent_is_not_judged_by_others_calls(base: Path, child: Path, tmp_path: Path) -> None:
    """The manifest names the agents; the others' calls are set aside as such."""
    rows = heldout(base)
    rows = [row | {"agent": "planner" if index % 4 else "writer"} for index, row in enumerate(rows)]
    manifest = read_manifest(child).model_copy(update={"agents": ("plan*",)})
    (child / MANIFEST).write_text(manifest.model_dump_json())

    gate = judged(publish(tmp_path / "data", rows), child, against=base)

    assert gate["estimate"]["num_calls"] == 24
    assert gate["set_aside"] == {"other_agent": 8}


def test_the_same_weights_gain_nothing_over_what_is_live(child: Path, base: Path, tmp_path: Path) -> None:
    """Compared with itself, whoever sampled the calls: no difference, and the report says with what."""
    data = publish(tmp_path / "data", heldout(base))

    found = judged(data, child, against=child)

    assert (found["verdict"], found["compared_with"]) == ("inconclusive", model_version(child))
    assert found["estimate"]["gain"] == found["estimate"]["kl_call"] == 0


def test_the_engines_rounding_is_no_change(base: Path, tmp_path: Path) -> None:
    """Log-probabilities on record are off by a tenth of a nat; the weights are the live ones."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=1000)
    rows = [
        row | {"behavior_logprobs": [row["behavior_logprobs"][0] + noise[index]]}
        for index, row in enumerate(heldout(base))
    ]
    twin = tiny_checkpoint(tmp_path / "twin", seed=0)

    gate = judged(publish(tmp_path / "data", rows), twin, against=base)

    assert gate["estimate"]["ess_share"] == pytest.approx(1, abs=1e-6)
    assert gate["estimate"]["kl_call"] == pytest.approx(0, abs=1e-9)


def test_the_newest_episodes_are_enough_where_few_are_asked_for(base: Path, child: Path, tmp_path: Path) -> None:
    """Whole ones, of the policies that are judged by; one nobody rewarded takes no place."""
    rows = [row | {"start_ns": index} for index, row in enumerate(heldout(base))]
    rows += [row | {"episode_id": f"later {index}", "start_ns": 99, "outcome": None} for index, row in enumerate(rows)]
    data = publish(tmp_path / "data", rows)

    few, all_of_them = (judged(data, child, against=base, most_episodes=most) for most in (20, None))

    assert few["estimate"]["num_calls"] == 20
    assert all_of_them["estimate"]["num_calls"] == 32


def test_an_episode_is_as_new_as_its_last_call_and_stays_whole() -> None:
    """In the order they came in; without a rewarded one nothing is left out."""
    rows = frame(
        transition(episode_id=episode, start_ns=start, policy_version=version, outcome=outcome)
        for episode, start, version, outcome in (
            *(("a", 1, "new", 1.0), ("b", 2, "new", 0.0), ("c", 3, "old", 1.0)),
            *(("a", 4, "new", 1.0), ("d", 5, "new", None)),
        )
    )

    assert newest(rows, 2)["episode_id"].to_list() == ["a", "c", "a"]
    assert newest(rows, 2, policies=frozenset({"new"}))["episode_id"].to_list() == ["a", "b", "a"]
    assert newest(rows, None).equals(rows)
    assert newest(rows.filter(episode_id="d"), 2)["episode_id"].to_list() == ["d"]


@pytest.mark.long
def test_text_is_judged_by_how_likely_good_answers_are(base: Path, child: Path, tmp_path: Path) -> None:
    """Without token ids nothing is weighted; the verdict stays open or refuses, and a canary may settle it."""
    text = {
        "prompt_token_ids": None, "response_token_ids": None, "behavior_logprobs": None, "evidence": "D",
        "observation": '[{"role": "user", "text": "7 - 2?"}]', "action": '{"text": "5"}',
    }  # fmt: skip
    data = publish(tmp_path / "data", heldout(base, **text))

    gate = judged(data, child, against=base, max_nll_rise=99, inconclusive="canary")

    assert (gate["verdict"], gate["passed"], gate["estimate"]) == ("inconclusive", False, None)
    assert gate["likelihood"]["num_calls"] > 0
    assert "log-probabilities" in gate["reason"]
    assert judged(data, child, against=base, max_nll_rise=0)["verdict"] == "refused"


def test_broken_weights_never_pass(base: Path, child: Path, tmp_path: Path) -> None:
    """A checkpoint whose weights are not numbers is refused, accepted or not, and the manifest can say so."""
    from safetensors.torch import load_file, save_file

    from train.schema import weights_digest

    tensors = load_file(child / "model.safetensors")
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, child / "model.safetensors")
    manifest = read_manifest(child).model_copy(update={"weights_digest": weights_digest(child)})
    (child / MANIFEST).write_text(manifest.model_dump_json())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("train.engine.policy._choose_attention", lambda _policy: None)
        manifest, gate = evaluate(
            EvaluateConfig(
                data=publish(tmp_path / "data", heldout(base)), checkpoint=child, against=base, inconclusive="accept"
            )
        )
    update_gate(child, manifest, gate)

    assert (gate["verdict"], gate["passed"]) == ("refused", False)
    assert read_manifest(child).gate == gate


def test_a_model_that_is_none_cannot_be_compared_with(child: Path, tmp_path: Path) -> None:
    """Wrong settings, and the setting is named."""
    with pytest.raises(SettingsError, match="--against"):
        judged(publish(tmp_path / "data", []), child, against=tmp_path)


def test_the_nearest_policies_with_enough_episodes_are_judged_by() -> None:
    """Older ones are asked where the nearest has too few; where none is named, all are."""

    def rows(counts: dict[str | None, int]) -> pl.DataFrame:
        return frame(
            transition(policy_version=version, episode_id=f"{version}-{index}")
            for version, count in counts.items()
            for index in range(count)
        )

    lineage = ["c", "b", "a"]
    assert choose_versions(rows({"c": 128, "b": 9}), lineage) == {"c"}
    assert choose_versions(rows({"c": 5, "b": 9, "other": 50}), lineage) == {"c", "b"}
    assert choose_versions(rows({"other": 50, None: 3}), lineage) is None


def test_what_counts_as_one_observation() -> None:
    """Two attempts of one user at two tasks, one of another at the first task, two of nobody at the second."""
    who = [("t", "ada"), ("u", "ada"), ("t", "bob"), ("u", None), ("u", None)]
    logged = Logged([Episode(str(index), task, 1.0, user) for index, (task, user) in enumerate(who)], [])

    def together(by: Cluster) -> list[set[int]]:
        clusters = cluster_episodes(list(range(5)), logged, by)
        return sorted((set(np.flatnonzero(clusters == each)) for each in np.unique(clusters)), key=min)

    assert together("episode") == [{0}, {1}, {2}, {3}, {4}]
    assert together("task") == [{0, 2}, {1, 3, 4}]
    assert together("user") == [{0, 1}, {2}, {3}, {4}]
