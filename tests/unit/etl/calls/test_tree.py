"""Any span set becomes a forest, whatever its links say."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.tree import NO_PARENT, build_forest


def frame(parents: list[int | None]) -> pl.DataFrame:
    """Spans 0, 1, … with the given parents; a number beyond the last names a span that is not there."""
    return pl.DataFrame(
        {
            "project": ["p"] * len(parents),
            "trace_id": ["t"] * len(parents),
            "span_id": [f"{row:016x}" for row in range(len(parents))],
            "parent_span_id": [None if parent is None else f"{parent:016x}" for parent in parents],
        },
        schema=dict.fromkeys(("project", "trace_id", "span_id", "parent_span_id"), pl.String),
    )


def test_a_chain_of_1200_is_no_recursion() -> None:
    """Depth is bounded by memory alone."""
    forest = build_forest(frame([None, *range(1199)]))

    assert forest.is_ancestor(0, 1199)
    assert not forest.is_ancestor(1199, 0)
    assert len(list(forest.ancestors(1199))) == 1199


def test_a_root_of_100000_children_is_linear() -> None:
    """Width costs one pass."""
    forest = build_forest(frame([None, *[0] * 100_000]))

    assert forest.leave[0] == 100_001


def test_a_cycle_is_cut_above_its_first_span() -> None:
    """Spans that name each other as parents keep their subtrees."""
    forest = build_forest(frame([2, 0, 1, 2]))

    assert forest.parent == [NO_PARENT, 0, 1, 2]
    assert forest.is_cut == [True, False, False, False]


def test_a_span_that_is_its_own_parent_is_a_root() -> None:
    """The shortest cycle."""
    forest = build_forest(frame([0]))

    assert forest.parent == [NO_PARENT]
    assert forest.is_cut == [True]


def test_the_same_span_id_in_another_trace_is_another_span() -> None:
    """Parents are looked for in their own trace only."""
    spans = frame([None, 0]).with_columns(trace_id=pl.Series(["t", "u"]))

    assert build_forest(spans).is_orphan == [False, True]


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=25))
def test_every_span_is_in_exactly_one_tree(parents: list[int | None]) -> None:
    """Cycles, orphans and self-parents included: each span reaches a root, and intervals nest."""
    forest = build_forest(frame(parents))

    for row in range(len(parents)):
        above = [row, *forest.ancestors(row)]
        assert len(above) == len(set(above))
        assert forest.parent[above[-1]] == NO_PARENT
        assert forest.root[row] == above[-1]
        assert all(forest.is_ancestor(upper, row) for upper in above[1:])
    assert sorted(forest.enter) == list(range(len(parents)))
