"""What followed from which call of an episode: by the agents' own order, and by the clock only where that is silent.

An agent's call follows from its previous one and from whatever ran wholly between the two, such as the calls of agents
it asked meanwhile. A parallel branch does not run between: it began before the previous call ended, or goes on. The
first call of an agent follows from all that had ended when it began, since nobody says who asked it.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NOBODY = -1
"""In `previous`: it is its agent's first call."""


def previous_calls(span_ids: list[str], next_span_ids: list[str | None], role: Ints, episode: Ints, start_ns: Ints,
                   end_ns: Ints) -> Ints:  # fmt: skip
    """Return for each call the index of the call its agent made before it, `NOBODY` for none; all are of each call.

    The record says which (`next_span_id`); where it does not, that is the last one of the same agent that had ended.
    """
    places = {span_id: index for index, span_id in enumerate(span_ids)}
    previous = np.full(len(span_ids), NOBODY, dtype=np.int64)
    for index, named in enumerate(next_span_ids):
        following = places.get(named) if named is not None else None
        if following is not None and episode[following] == episode[index] and end_ns[index] <= start_ns[following]:
            previous[following] = index
    latest: dict[tuple[int, int], list[int]] = {}
    for index in np.argsort(start_ns, kind="stable").tolist():
        mine = latest.setdefault((int(episode[index]), int(role[index])), [])
        if previous[index] == NOBODY:
            ended = [other for other in mine if end_ns[other] <= start_ns[index]]
            previous[index] = max(ended, key=lambda other: (end_ns[other], other), default=NOBODY)
        mine.append(index)
    return previous


def is_sequential(start_ns: Ints, end_ns: Ints) -> bool:
    """Tell whether no two calls of an episode overlap: then the clock says all there is to know."""
    order = np.argsort(start_ns, kind="stable")
    return bool((end_ns[order][:-1] <= start_ns[order][1:]).all())


def followers(start_ns: Ints, end_ns: Ints, previous: Ints) -> NDArray[np.bool_]:
    """Return for the calls of one episode whether the second (column) follows from the first (row).

    `previous` holds places among these calls.

    >>> followers(np.array([0, 0, 9, 12]), np.array([5, 10, 10, 20]), np.array([-1, -1, 0, 1])).astype(int)
    array([[0, 0, 1, 0],
           [0, 0, 0, 1],
           [0, 0, 0, 0],
           [0, 0, 0, 0]])
    """
    size = len(start_ns)
    found = np.zeros((size, size), dtype=bool)
    for call in np.argsort(start_ns, kind="stable"):
        causes = end_ns <= start_ns[call]
        causes[call] = False
        if previous[call] != NOBODY:
            causes &= start_ns >= end_ns[previous[call]]
            causes[previous[call]] = True
        for cause in np.flatnonzero(causes):
            # An instant call and one that begins as it ends could each come first; neither follows from the other.
            if not found[call, cause]:
                found[:, call] |= found[:, cause]
                found[cause, call] = True
        found[call, call] = False
    return found
