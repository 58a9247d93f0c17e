"""What a checkpoint says it was made of."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from etl.schema import watermark_path
from tests.logged import publish, transition
from train.data.logged import Logged
from train.loop import Trained
from train.losses.routing import route_calls
from train.plan import Plan
from train.publishing import describe_window, make_manifest
from train.schema import Manifest, model_version, tokenizer_digests
from train.settings import TrainConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def manifest(model: Path, *, is_adapter: bool = False, heldout_losses: tuple[float, ...] = ()) -> Manifest:
    route, taken = route_calls(Logged([], []), np.array([]), loss="ppo", negative=1.0)
    plan = Plan(Logged([], []), [], taken, route, facts={"num_trained_calls": 7})
    trained = Trained(3, None, 0.0, {"kl_call": 0.5}, heldout_losses=heldout_losses)
    config = TrainConfig(model=model, agents=("a*",))
    return make_manifest("id", "f" * 64, config, plan, trained, [], {"files": {}}, NOW, is_adapter=is_adapter)


def test_a_window_is_named_by_what_its_files_hold(tmp_path: Path) -> None:
    """And by the first and last it covers, of all windows that were published."""
    publish(tmp_path, [transition()])
    (path,) = (tmp_path / "dataset" / "transitions").iterdir()

    found = describe_window(tmp_path)

    assert found == {
        "files": {"dataset/transitions/part-0.parquet": hashlib.sha256(path.read_bytes()).hexdigest()},
        "received_seq": [0, 1],
    }


def test_a_dataset_without_a_watermark_covers_nothing_that_is_known(tmp_path: Path) -> None:
    """Rather than failing a run at its end."""
    publish(tmp_path, [transition()])
    watermark_path(tmp_path).unlink()

    assert describe_window(tmp_path)["received_seq"] == [None, None]


def test_a_whole_model_names_its_parent_and_no_base(model: Path) -> None:
    """With tokenizer, template, settings and counts of what it learned from."""
    found = manifest(model)

    assert (found.kind, found.base, found.parent) == ("full", None, model_version(model))
    assert (found.tokenizer_digest, found.chat_template_digest) == tokenizer_digests(model)
    assert found.window == {"files": {}, "counts": {"num_trained_calls": 7}}
    assert (found.agents, found.settings["agents"]) == (("a*",), ["a*"])
    assert found.created_time == "2026-01-01T00:00:00+00:00"
    assert found.gate is None


def test_a_first_adapter_stands_on_the_model_it_was_trained_over(model: Path) -> None:
    """By path, version and digest."""
    found = manifest(model, is_adapter=True)

    assert found.kind == "adapter"
    assert found.base is not None
    assert (Path(found.base.path), found.base.version) == (model.resolve(), model_version(model))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [((), {}), ((2.0,), {"heldout_loss_before": 2.0, "heldout_loss": 2.0}),
     ((2.0, 1.0, 1.5), {"heldout_loss_before": 2.0, "heldout_loss": 1.0})],
)  # fmt: skip
def test_the_loss_that_is_said_is_of_the_pass_that_is_published(
    model: Path, losses: tuple[float, ...], expected: dict[str, float]
) -> None:
    """The best one: those after it are taken back. Without tasks kept out nothing is said."""
    assert manifest(model, heldout_losses=losses).metrics == {"kl_call": 0.5, **expected}
