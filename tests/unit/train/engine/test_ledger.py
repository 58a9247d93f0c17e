"""What a checkpoint says of the calls it was trained on, and that SQL can ask it."""

from pathlib import Path

import polars as pl
import pytest

from foundation.errors import SpanloopError
from receiver.schema import connect
from tests.logged import publish, transition
from train.engine.ledger import tabulate, write_credit
from train.plan import Plan, make_plan
from train.schema import CREDIT
from train.settings import TrainConfig


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return a plan of 40 tasks with a success and a failure each, and a call nobody rewarded."""
    rows = [
        transition(episode_id=f"{task}-{outcome}", span_id=f"{task}-{outcome}", task_id=str(task), outcome=outcome)
        for task in range(40)
        for outcome in (1.0, 0.0, None)
    ]
    config = TrainConfig(
        data=publish(tmp_path / "data", rows), model=tmp_path, credit="return_to_go", baseline="leave_one_out",
        shrinkage=0, negative=0.5,
    )  # fmt: skip
    return make_plan(config, vocabulary_size=100, max_length=100)


def test_a_row_says_why_a_call_was_pushed_up_or_down(plan: Plan) -> None:
    """Success +1 and failure -1 against the other attempt, half of that as the loss takes it; others have no row."""
    table = tabulate(plan, "c-1")

    assert dict(zip(table.columns, map(str, table.dtypes), strict=True)) == CREDIT
    assert len(table) == 80
    good, bad = table.filter(episode_id="0-1.0").row(0, named=True), table.filter(episode_id="0-0.0").row(0, named=True)
    assert (good["advantage"], good["taken"], good["return_"], good["value"]) == (1, 1, 1, None)
    assert (bad["advantage"], bad["taken"], bad["weight"]) == (-1, -0.5, 1)
    assert (good["checkpoint_id"], good["known"], good["num_tokens"], good["project"]) == ("c-1", "exact", 2, "test")
    assert good["loss"] == "cispo"


def test_credit_is_a_view_over_all_checkpoints(plan: Plan, tmp_path: Path) -> None:
    """One that is being written is none yet; before there is any, the answer says what makes one."""
    data = tmp_path / "data"
    reader = connect(data)
    with pytest.raises(SpanloopError, match="credit has no rows yet"):
        reader.query("select * from credit")
    for name in ("one", "two", ".partial-three"):
        (data / "checkpoints" / name).mkdir(parents=True)
        write_credit(data / "checkpoints" / name, plan, name)

    found = pl.DataFrame(reader.query("select checkpoint_id, count(*) as n from credit group by all order by all"))
    reader.close()

    assert found.rows() == [("one", 80), ("two", 80)]
