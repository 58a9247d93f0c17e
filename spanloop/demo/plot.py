"""Reward per night as a picture (PNG) and as a page of its own (HTML with the same picture inline, no script)."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from foundation.files import write_atomically

mpl.use("Agg")


def draw(nights: Sequence[dict[str, Any]], *, before: float, after: float) -> Figure:
    """Draw mean reward per night, of the episodes learned from and of held-out ones, as it was before the night."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [night["night"] for night in nights]
    heldout = [*(night["heldout_reward"] for night in nights), after]
    axes.plot(numbers, [night["train_reward"] for night in nights], marker="o", label="training episodes")
    axes.plot([*numbers, len(nights) + 1], heldout, marker="s", linestyle="--", label="held-out episodes")
    labels = [*map(str, numbers), "after"]
    axes.set(xlabel="night", ylabel="mean reward", ylim=(0, 1), xticks=[*numbers, len(nights) + 1], xticklabels=labels)
    axes.set_title(f"Held-out success {before:.2f} → {after:.2f} in {len(nights)} nights")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def draw_windows(windows: Sequence[dict[str, Any]], *, task: str, before: float, after: float) -> Figure:
    """Draw the mean reward of each window, its running mean over eight, and the held-out reward at both ends."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [window["window"] for window in windows]
    rewards = [window["reward"] for window in windows]
    smooth = [sum(last) / len(last) for last in (rewards[max(0, end - 8) : end] for end in numbers)]
    axes.plot(numbers, rewards, marker=".", alpha=0.4, label="a window's episodes")
    axes.plot(numbers, smooth, label="mean of the last eight")
    axes.plot([0.5, numbers[-1] + 0.5], [before, after], marker="s", linestyle="--", label="held-out questions")
    axes.set(xlabel="window", ylabel="mean reward", ylim=(0, 1))
    axes.set_title(f"{task}: held-out reward {before:.2f} → {after:.2f} in {len(windows)} windows")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return figure


def save(figure: Figure, directory: Path, *, rows: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
    """Write `reward.png` and `reward.html` (picture and table) and return their paths."""
    png, page = directory / "reward.png", directory / "reward.html"
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(png, picture.getvalue())
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg")
    svg = drawing.getvalue()
    write_atomically(page, _page(svg[svg.index("<svg") :], rows).encode())
    return png, page


def _page(svg: str, rows: Sequence[dict[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(key)}</th>" for key in (rows[0] if rows else ()))
    cells = ("".join(f"<td>{_cell(value)}</td>" for value in row.values()) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Reward per night</title>"
        "<style>body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}svg{width:100%;height:auto}"
        "table{border-collapse:collapse}td,th{padding:.3rem;text-align:right;border-bottom:1px solid #ccc}</style>"
        f"<h1>Reward per night</h1>{svg}<table><tr>{head}</tr>{body}</table></html>\n"
    )


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))
