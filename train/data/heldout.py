"""Tasks kept out of a run, which show when further passes only learn its own calls by heart. No tensors."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from train.data.logged import Logged

LEAST_TASKS = 8
"""Of which something could be said; where the share is of fewer, none is kept out."""


def hold_out(logged: Logged, teaching: NDArray[np.bool_], *, share: float) -> NDArray[np.bool_]:
    """Return which calls are of tasks that are kept out: that share of the tasks with a call that teaches.

    Which ones is decided by their names alone, so a task kept out tonight is likely to be tomorrow. All calls of such
    a task are kept out.
    """
    tasks = [logged.episodes[call.episode].task for call in logged.calls]
    able = {task for task, teaches in zip(tasks, teaching, strict=True) if teaches}
    number = round(share * len(able))
    kept = set(sorted(able, key=_place)[:number]) if number >= LEAST_TASKS else set[str]()
    return np.array([task in kept for task in tasks], dtype=bool)


def _place(task: str) -> str:
    return hashlib.sha256(task.encode(errors="surrogatepass")).hexdigest()
