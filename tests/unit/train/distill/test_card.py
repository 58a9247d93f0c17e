"""The data card: what a student was taught, readable by who asks later."""

from pathlib import Path

from tests.logged import publish
from tests.unit.train.distill.lessons import call
from train.distill.card import write_card
from train.distill.preparing import prepare
from train.distill.settings import DistillConfig
from train.distill.teaching import Taught


def test_a_card_says_what_was_left_out_and_what_it_does_not_know(tmp_path: Path, model: Path) -> None:
    """Reasons with their numbers, outcomes that tell nothing apart, and the reminder of licences."""
    rows = [call(f"t{task}", str(task), outcome=1.0) for task in range(20)]
    rows += [call(f"h{task}", str(task), split="heldout") for task in range(3)]
    rows.append(call("cut", "and so", finish_reason="length"))
    config = DistillConfig(data=publish(tmp_path, rows), model=model, min_calls=4)
    taught = Taught(9, 3, 2, "3 passes (epochs)", 2.0, 0.5, {})

    card = write_card(config, prepare(config, model), taught, checkpoint_id="20260101T000000Z-0", student=model)

    assert card.startswith("# 20260101T000000Z-0\n")
    assert "| `cut_short` | 1 |" in card
    assert "| calls taught | 20," in card
    assert "2.0000 before, 0.5000 after" in card
    assert "All outcomes are alike" in card
    assert "read the licence of every teacher" in card
    assert "left out: ask the student" not in card
