"""The tree of a trace: which span is below which, and how much of it a page shows at once."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_SHOWN = 90
"""Nodes a page begins with; each is about a dozen elements of it."""

MOST_LEVELS = 40
"""Levels a page begins with; what is deeper is shown under one of its ancestors."""

MOST_CHILDREN = 60
"""Children of one node that are shown before `more`."""


class Span(NamedTuple):
    """What a tree shows of a span; instants in nanoseconds since 1970, texts empty where nothing is known."""

    span_id: str
    parent_span_id: str
    start_ns: int
    end_ns: int | None = None
    status_code: str = ""
    name: str = ""
    kind: str = ""
    service_name: str = ""
    project: str = ""


def read_spans(text: str) -> list[Span]:
    """Read spans from CSV with these columns. What stands in many is held once: large traces are held for a while."""
    rows, intern = csv.reader(io.StringIO(text, newline="")), sys.intern
    next(rows, None)
    return [
        Span(
            id_, parent, int(start), int(end) if end else None, intern(status), name, intern(kind), intern(service),
            intern(project),
        )
        for id_, parent, start, end, status, name, kind, service, project in rows
    ]  # fmt: skip


@dataclass(eq=False, slots=True)
class Node:
    """A span and what is below it."""

    span: Span
    children: list["Node"] = field(default_factory=list)
    parent: "Node | None" = None
    num_below: int = 0
    """Spans below it, at any depth."""

    has_error_below: bool = False

    @property
    def id(self) -> str:
        """Its span's id."""
        return self.span.span_id


class Tree:
    """All spans of a trace, as far as they were read. Orphans are roots of their own; circles are cut."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.nodes = {span.span_id: Node(span) for span in spans}
        self.roots: list[Node] = []
        ordered = sorted(self.nodes.values(), key=_begin)
        for node in ordered:
            parent = self.nodes.get(node.span.parent_span_id)
            node.parent = parent if parent is not node else None
        self._hang(ordered)
        reached = list(self.walk())
        if len(reached) < len(ordered):
            _cut_circles(ordered)
            self._hang(ordered)
            reached = list(self.walk())
        for node in reversed(reached):
            if node.parent is not None:
                node.parent.num_below += 1 + node.num_below
                node.parent.has_error_below |= node.has_error_below or node.span.status_code == "error"

    def _hang(self, ordered: Sequence[Node]) -> None:
        """Put every node among the children of its parent, or among the roots."""
        self.roots = []
        for node in ordered:
            node.children = []
        for node in ordered:
            (node.parent.children if node.parent else self.roots).append(node)

    def walk(self) -> Iterator[Node]:
        """Yield every node, each before those below it."""
        pending = list(reversed(self.roots))
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    @property
    def bounds(self) -> tuple[int, int]:
        """Start of the first span and end of the last, nanoseconds."""
        spans = [node.span for node in self.nodes.values()]
        if not spans:
            return 0, 1
        start = min(span.start_ns for span in spans)
        return start, max(start + 1, *(span.end_ns or 0 for span in spans))


def _begin(node: Node) -> tuple[int, str]:
    return node.span.start_ns, node.span.span_id


def _cut_circles(nodes: Sequence[Node]) -> None:
    """Make the first span of every circle of parents a root."""
    settled: set[int] = set()
    for node in nodes:
        way: dict[int, Node] = {}
        at: Node | None = node
        while at is not None and id(at) not in settled and id(at) not in way:
            way[id(at)] = at
            at = at.parent
        if at is not None and id(at) in way:
            steps = list(way.values())
            circle = steps[steps.index(at) :]
            min(circle, key=_begin).parent = None
        settled |= set(way)


@dataclass(frozen=True)
class Shown:
    """A node as a page shows it."""

    node: Node
    level: int
    is_open: bool
    children: tuple["Shown", ...] = ()
    num_hidden: int = 0
    """Children that are left to `more`."""

    from_: int = 0
    """Number of the first child shown."""


def choose_open(roots: Sequence[Node], wanted: Node | None, most: int = MOST_SHOWN) -> set[str]:
    """Return the ids of nodes to open: the way to the wanted one first, then level by level while there is room."""
    opened: set[str] = set()
    room = most - min(len(roots), MOST_CHILDREN)
    at = wanted.parent if wanted else None
    while at is not None:
        if at.id not in opened:
            opened.add(at.id)
            room -= min(len(at.children), MOST_CHILDREN)
        at = at.parent
    level = list(roots[:MOST_CHILDREN])
    for _ in range(MOST_LEVELS):
        if room <= 0:
            break
        below: list[Node] = []
        for node in level:
            cost = min(len(node.children), MOST_CHILDREN)
            if node.children and (node.id in opened or cost <= room):
                room -= 0 if node.id in opened else cost
                opened.add(node.id)
                below += node.children[:MOST_CHILDREN]
        level = below
    return opened


def show(
    nodes: Sequence[Node], opened: set[str], wanted: Node | None, *, level: int = 1, from_: int | None = None
) -> tuple[Shown, ...]:
    """Return nodes as a page shows them, with those below that are open; `from_` is the first child of the top one."""
    shown = []
    for node in nodes:
        is_open = node.id in opened and bool(node.children)
        if not is_open:
            shown.append(Shown(node, level, is_open=False))
            continue
        first = first_shown(node, wanted) if from_ is None else from_
        chosen = node.children[first : first + MOST_CHILDREN]
        children = show(chosen, opened, wanted, level=level + 1)
        hidden = len(node.children) - first - len(chosen)
        shown.append(Shown(node, level, is_open=True, children=children, num_hidden=hidden, from_=first))
    return tuple(shown)


def first_shown(node: Node, wanted: Node | None) -> int:
    """Return the number of the first child to show, so that the way to the wanted node is among them."""
    at = wanted
    while at is not None and at.parent is not node:
        at = at.parent
    if at is None:
        return 0
    position = next(index for index, child in enumerate(node.children) if child is at)
    return position - position % MOST_CHILDREN


def tops_for(tree: Tree, under: Node | None, wanted: Node | None) -> list[Node]:
    """Return what stands on top: the node that was asked for, else the roots, or an ancestor near what lies deep."""
    way: list[Node] = []
    at = wanted
    while at is not None and at is not under:
        way.append(at)
        at = at.parent
    if len(way) > MOST_LEVELS:
        return [way[MOST_LEVELS - 10]]
    return [under] if under is not None else tree.roots
