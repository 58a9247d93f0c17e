"""The tree of a trace: every span is in it once, whatever parents say, and a page shows a bounded part of it."""

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from foundation import rows
from spanloop.page.traces import trees
from spanloop.page.traces.trees import Span, Tree, read_spans

KINDS = {"start_ns": pa.int64(), "end_ns": pa.int64()}


def spans(parents: Sequence[int | None]) -> list[Span]:
    """Return spans by the number of each one's parent; a number beyond them never arrived."""
    return [
        Span(
            span_id=str(number),
            parent_span_id="" if parent is None else str(parent),
            start_ns=number,
            end_ns=number + 1,
            status_code="error" if number == len(parents) - 1 else "ok",
        )
        for number, parent in enumerate(parents)
    ]


def count(shown: Sequence[trees.Shown]) -> int:
    return sum(1 + count(one.children) for one in shown)


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=12))
def test_every_span_is_in_the_tree_once(parents: list[int | None]) -> None:
    """Orphans are roots, and circles are cut: nothing is lost and nothing is walked for ever."""
    tree = Tree(spans(parents))

    assert sorted(node.id for node in tree.walk()) == sorted(str(number) for number in range(len(parents)))
    assert sum(1 + root.num_below for root in tree.roots) == len(parents)


def test_a_circle_is_cut_at_its_first_span_alone() -> None:
    """What hangs from it stays below."""
    tree = Tree(spans([2, 0, 1, 1]))

    assert [root.id for root in tree.roots] == ["0"]
    assert tree.nodes["3"].parent is tree.nodes["1"]
    assert tree.nodes["0"].has_error_below


def test_a_page_begins_with_a_bounded_part_that_holds_what_is_wanted() -> None:
    """Of a wide trace, of a deep one, and of one that is both."""
    wide = [None, *[0] * 20_000]
    deep = [None, *range(20_000)]
    both = [None if number == 0 else (number - 1) // 3 for number in range(20_000)]
    for parents in (wide, deep, both):
        tree = Tree(spans(parents))
        for wanted in (None, tree.nodes["10000"], tree.nodes["19999"]):
            tops = trees.tops_for(tree, None, wanted)
            shown = trees.show(tops, trees.choose_open(tops, wanted), wanted)

            ids = _ids(shown)
            assert wanted is None or wanted.id in ids
            assert 1 < len(ids) < 300
            assert max(_levels(shown)) <= trees.MOST_LEVELS + 2


def _ids(shown: Sequence[trees.Shown]) -> list[str]:
    return [id_ for one in shown for id_ in (one.node.id, *_ids(one.children))]


def _levels(shown: Sequence[trees.Shown]) -> list[int]:
    return [level for one in shown for level in (one.level, *_levels(one.children))]


def test_children_come_a_screen_at_a_time() -> None:
    """What is left out is counted."""
    tree = Tree(spans([None, *[0] * 150]))

    (top,) = trees.show(tree.roots, {"0"}, None)
    (rest,) = trees.show(tree.roots, {"0"}, None, from_=120)
    (around,) = trees.show(tree.roots, {"0"}, tree.nodes["100"])

    assert (len(top.children), top.num_hidden) == (60, 90)
    assert (len(rest.children), rest.num_hidden) == (30, 0)
    assert (around.from_, around.num_hidden) == (60, 30)


def test_an_empty_trace_has_bounds() -> None:
    """Nothing is divided by nothing."""
    assert Tree([]).bounds == (0, 1)


@given(st.lists(st.tuples(st.text(), st.text(), st.one_of(st.none(), st.integers(0, 1 << 62))), max_size=5))
def test_spans_are_read_as_the_receiver_writes_them(told: list[tuple[str, str, int | None]]) -> None:
    """Whatever stands in a name; what is not known is empty."""
    wanted = [
        Span(str(number), parent, number, end_ns, "ok", name, "internal", "", "default")
        for number, (name, parent, end_ns) in enumerate(told)
    ]
    table = pa.table(
        {
            name: pa.array([span[at] for span in wanted], KINDS.get(name, pa.string()))
            for at, name in enumerate(Span._fields)
        }
    )

    assert read_spans(rows.as_csv(table).decode()) == wanted
