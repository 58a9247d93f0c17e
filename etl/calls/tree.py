"""Puts the spans of every trace under their parents. Knows nothing of what the spans mean.

Iterative throughout, so a trace may be as deep or as wide as it likes, and linear in spans. What cannot be a tree is
made one and marked: a span whose parent never arrived becomes a root, and a cycle is cut above its earliest span.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

NO_PARENT = -1


@dataclass(slots=True)
class Forest:
    """The trees of a frame of spans, by row number."""

    parent: list[int]
    """Row of the parent; `NO_PARENT` for a root."""

    root: list[int]
    """Row of the root of the tree a span is in."""

    enter: list[int]
    leave: list[int]
    """A span's subtree is exactly the rows with enter in [enter, leave)."""

    is_orphan: list[bool]
    """The span names a parent that is not there."""

    is_cut: list[bool]
    """The span's parent link closed a cycle and was cut."""

    def is_ancestor(self, upper: int, lower: int) -> bool:
        """Tell whether one row is a proper ancestor of another."""
        return upper != lower and self.enter[upper] <= self.enter[lower] < self.leave[upper]

    def ancestors(self, row: int) -> Iterator[int]:
        """Walk from a row's parent up to its root."""
        row = self.parent[row]
        while row != NO_PARENT:
            yield row
            row = self.parent[row]


def build_forest(spans: pl.DataFrame) -> Forest:
    """Build the forest of spans in rows sorted by start; ids are unique within (project, trace_id).

    >>> forest = build_forest(pl.DataFrame({
    ...     "project": ["p"] * 3, "trace_id": ["t"] * 3,
    ...     "span_id": ["a", "b", "c"], "parent_span_id": [None, "a", "gone"]}))
    >>> forest.parent, forest.is_orphan
    ([-1, 0, -1], [False, False, True])
    """
    rows = spans.select("project", "trace_id", "span_id", "parent_span_id").with_row_index("row")
    parents = rows.select("project", "trace_id", parent_span_id="span_id", parent="row")
    linked = rows.join(
        parents, on=["project", "trace_id", "parent_span_id"], how="left", maintain_order="left", nulls_equal=False
    )
    parent: list[int] = linked["parent"].cast(pl.Int64).fill_null(NO_PARENT).to_list()
    is_orphan: list[bool] = (linked["parent"].is_null() & linked["parent_span_id"].is_not_null()).to_list()
    is_cut = _cut_cycles(parent)
    enter, leave, root = _number(parent)
    return Forest(parent, root, enter, leave, is_orphan, is_cut)


def _cut_cycles(parent: list[int]) -> list[bool]:
    """Cut every cycle above its first row, in place, and say where."""
    is_cut = [False] * len(parent)
    state = bytearray(len(parent))  # 0 not seen, 1 on the walk under way, 2 known to lead to a root
    for start in range(len(parent)):
        walk: list[int] = []
        row = start
        while row != NO_PARENT and state[row] == 0:
            state[row] = 1
            walk.append(row)
            row = parent[row]
        if row != NO_PARENT and state[row] == 1:
            top = min(walk[walk.index(row) :])
            parent[top] = NO_PARENT
            is_cut[top] = True
        for visited in walk:
            state[visited] = 2
    return is_cut


def _number(parent: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Return when each row is entered and left, depth first with children in row order, and its root."""
    size = len(parent)
    children: list[list[int]] = [[] for _ in range(size)]
    roots: list[int] = []
    for row, above in enumerate(parent):
        (roots if above == NO_PARENT else children[above]).append(row)
    enter, leave, root = [0] * size, [0] * size, [0] * size
    order: list[int] = []
    for top in roots:
        stack = [top]
        while stack:
            row = stack.pop()
            root[row], enter[row] = top, len(order)
            order.append(row)
            if children[row]:
                stack.extend(reversed(children[row]))
    for row in reversed(order):  # children before their parents
        leave[row] = max(leave[row], enter[row] + 1)
        above = parent[row]
        if above != NO_PARENT and leave[above] < leave[row]:
            leave[above] = leave[row]
    return enter, leave, root
