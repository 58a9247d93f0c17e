"""Which attempts are at the same task."""

from otel_exporter import schema as names
from tests.spans import identifier, llm, span
from tests.unit.etl.test_transitions import run


def test_an_explicit_task_groups_attempts_and_decides_the_split() -> None:
    """The same task is always on the same side."""
    traces = [
        [
            span(f"root{n}", trace=f"t{n}", end=9, attributes={names.TASK_ID: "sum"}),
            llm(f"a{n}", trace=f"t{n}", parent=f"root{n}", start=1),
        ]
        for n in range(2)
    ]
    dataset = run(*traces[0], *traces[1], holdout=0.999)

    assert dataset.tables["transitions"]["task_id"].to_list() == ["sum", "sum"]
    assert dataset.tables["transitions"]["split"].unique().to_list() == ["heldout"]


def test_a_span_can_hold_its_episode_out() -> None:
    """Whatever the hash says."""
    dataset = run(span("root", end=9, attributes={names.SPLIT: "heldout"}), llm("a", parent="root"), holdout=0)

    assert dataset.tables["episodes"]["split"].to_list() == ["heldout"]
    assert dataset.tables["transitions"]["split"].to_list() == ["heldout"]


def test_without_a_task_the_first_observation_is_the_task() -> None:
    """Attempts that begin alike are attempts at one task, role by role."""
    dataset = run(
        llm("a", trace="1", asked=[("user", "12*7")], said="84"),
        llm("b", trace="2", asked=[("user", "12*7")], said="85"),
        llm("c", trace="3", asked=[("user", "12*8")]),
    )

    tasks = dict(dataset.tables["transitions"].select("span_id", "task_id").iter_rows())
    assert tasks[identifier("a", 16)] == tasks[identifier("b", 16)] != tasks[identifier("c", 16)]
