"""The metrics of a run as curves: in the terminal, and as a picture."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError, SpanloopError
from train.metrics.measures import is_metric

BARS = "▁▂▃▄▅▆▇█"

SHOWN = (
    "reward",
    "loss",
    "kl_call",
    "ratio_mean",
    "ess_share",
    "clip_fraction",
    "entropy",
    "grad_norm",
    "tokens_per_s",
)
"""What is drawn unless somebody asks for something else."""

Curves = Mapping[str, list[float]]


def read_metrics(checkpoint: Path) -> list[dict[str, Any]]:
    """Read the lines of a checkpoint's metrics.jsonl."""
    path = checkpoint / "metrics.jsonl"
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    except FileNotFoundError:
        raise SpanloopError(
            f"{checkpoint} has no metrics.jsonl", hint="Name a checkpoint that was trained here."
        ) from None
    except ValueError as error:
        raise SpanloopError(f"{path} is damaged: {error}") from error


def choose_curves(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Curves:
    """Return the values of metrics by name, in the order of the updates; an update that lacks one is left out."""
    known = {name for line in lines for name in line if is_metric(name)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise SettingsError(
            f"no metric {', '.join(unknown)} in this run", hint=f"There are {', '.join(sorted(known))}."
        )
    chosen = names or [name for name in SHOWN if name in known]
    return {name: [float(line[name]) for line in lines if line.get(name) is not None] for name in chosen}


def draw_line(values: Sequence[float], width: int) -> str:
    """Draw values as bars between their least and largest; more of them than fit are averaged, `width` at most.

    >>> draw_line([0, 1, 2, 3], 4), draw_line([0, 0, 3, 3], 2), draw_line([5, 5], 9)
    ('▁▃▆█', '▁█', '▁▁')
    """
    edges = [round(index * len(values) / min(width, len(values))) for index in range(min(width, len(values)) + 1)]
    means = [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    least, span = min(means), max(means) - min(means)
    return "".join(BARS[round((value - least) / span * (len(BARS) - 1)) if span else 0] for value in means)


def draw_text(curves: Curves, *, width: int) -> str:
    """Return one line a metric: its name, first and last value, the least and the largest, and its curve."""
    rows = [f"{'':24} {'first':>10} {'last':>10} {'least':>10} {'largest':>10}"]
    for name, values in curves.items():
        numbers = " ".join(f"{value:10.4g}" for value in (values[0], values[-1], min(values), max(values)))
        rows.append(f"{name:24} {numbers}  {draw_line(values, max(8, width - 70))}")
    return "\n".join(rows)


def draw_picture(curves: Curves, path: Path) -> None:
    """Write the curves as small panels of one PNG; matplotlib comes with the extra `demo`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError("a picture needs matplotlib", hint="pip install 'spanloop[demo]'") from error
    columns = 3
    figure = Figure(figsize=(4 * columns, 2.4 * -(-len(curves) // columns)), layout="constrained")
    for index, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(-(-len(curves) // columns), columns, index + 1)
        axes.plot(range(1, len(values) + 1), values, linewidth=1)
        axes.set_title(name, fontsize="medium")
        axes.grid(alpha=0.3)
    figure.supxlabel("update", fontsize="small")
    figure.savefig(path, format="png", dpi=120)
