"""Charts as SVG, made here: lines, bars and histograms that a reader of the page needs no script for.

Colours come from the stylesheet by class; positions are attributes, since a style in the markup would be refused by the
page's own policy. What a chart shows stands beside it as text, too.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

WIDTH, HEIGHT = 320, 96
LEFT, BOTTOM = 44, 16

Point = tuple[float, float]


def lines(
    series: Mapping[str, Sequence[Point]],
    *,
    title: str,
    unit: str = "",
    width: int = WIDTH,
    height: int = HEIGHT,
    ends: tuple[str, str] | None = None,
) -> Markup:
    """Draw series of points over one pair of axes; what is not finite is left out. Empty without two points.

    `ends` is what stands below the first and the last point instead of their numbers.
    """
    clean = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for name, points in series.items()
    }
    clean = {name: points for name, points in clean.items() if points}
    every = [point for points in clean.values() for point in points]
    if len(every) < 2:
        return Markup("")
    xs, ys = [x for x, _ in every], [y for _, y in every]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    if high == low:
        low, high = low - 0.5, high + 0.5
    across, up = (right - left) or 1.0, high - low

    def place(point: Point) -> str:
        x = LEFT + (point[0] - left) / across * (width - LEFT - 6)
        y = 6 + (high - point[1]) / up * (height - BOTTOM - 10)
        return f"{x:.1f},{y:.1f}"

    drawn = Markup("").join(
        Markup('<polyline class="line line-{}" points="{}"><title>{}</title></polyline>').format(
            index % 6, " ".join(map(place, _thin(points, width))), name
        )
        for index, (name, points) in enumerate(clean.items())
    )
    said = f"{title}: from {_brief(low)} to {_brief(high)}{unit}"
    first, last = ends or (_brief(left), _brief(right))
    return _frame(said, width, height, drawn + _axes(low, high, first, last, width, height))


def _thin(points: Sequence[Point], most: int) -> Sequence[Point]:
    """Return so many points as can be seen: of each stretch the first, the least and the largest."""
    if len(points) <= 2 * most:
        return points
    step = len(points) / most
    edges = [round(index * step) for index in range(most + 1)]
    kept: list[Point] = []
    for begin, end in pairwise(edges):
        stretch = points[begin:end]
        chosen = {0, *(sorted(range(len(stretch)), key=lambda i: stretch[i][1])[index] for index in (0, -1))}
        kept += [stretch[index] for index in sorted(chosen)]
    return kept


def bars(
    values: Sequence[tuple[str, float]], *, title: str, width: int = WIDTH, height: int = HEIGHT, kind: str = "bar"
) -> Markup:
    """Draw one bar a value, from zero, with its label and value as its tooltip. Empty without values."""
    known = [(label, value) for label, value in values if math.isfinite(value)]
    if not known:
        return Markup("")
    low, high = min(0.0, *(value for _, value in known)), max(0.0, *(value for _, value in known))
    high = high if high > low else low + 1.0
    room, tall = width - LEFT - 6, height - BOTTOM - 10
    step = room / len(known)
    zero = 6 + high / (high - low) * tall
    drawn = Markup("").join(
        Markup(
            '<rect class="{} {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {}</title></rect>'
        ).format(
            kind,
            "minus" if value < 0 else "plus",
            LEFT + index * step + step * 0.08,
            zero - max(value, 0) / (high - low) * tall,
            max(step * 0.84, 0.5),
            max(abs(value) / (high - low) * tall, 0.5),
            label,
            _brief(value),
        )
        for index, (label, value) in enumerate(known)
    )
    axes = _labels(low, high, known[0][0], known[-1][0], width, height)
    return _frame(f"{title}: {len(known)} bars, largest {_brief(high)}", width, height, drawn + axes)


def histogram(bins: Sequence[tuple[float, float, int]], *, title: str, width: int = WIDTH) -> Markup:
    """Draw counts of values between edges: (from, to, count)."""
    labelled = [(f"{_brief(low)} to {_brief(high)}", float(count)) for low, high, count in bins]
    return bars(labelled, title=title, width=width)


def interval(low: float, high: float, middle: float | None, *, bounds: tuple[float, float], title: str) -> Markup:
    """Draw an interval on a scale that has zero marked, its ends in numbers beside it."""
    least, most = min(bounds[0], low, 0.0), max(bounds[1], high, 0.0)
    if not (math.isfinite(least) and math.isfinite(most)) or most == least:
        return Markup("")

    def place(value: float) -> float:
        return 4 + (value - least) / (most - least) * 192

    kind = "plus" if low > 0 else "minus" if high < 0 else "open"
    drawn = Markup('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="22"></line>').format(place(0.0))
    drawn += Markup('<rect class="interval {}" x="{:.1f}" y="9" width="{:.1f}" height="6"></rect>').format(
        kind, place(low), max(place(high) - place(low), 1)
    )
    if middle is not None:
        drawn += Markup('<circle class="middle {}" cx="{:.1f}" cy="12" r="4"></circle>').format(kind, place(middle))
    said = Markup('<text class="label" x="206" y="16">{} to {}</text>').format(_signed(low), _signed(high))
    return _frame(title, 330, 24, drawn + said)


def _frame(said: str, width: int, height: int, inside: Markup) -> Markup:
    return Markup(
        '<svg class="chart" role="img" aria-label="{0}" viewBox="0 0 {1} {2}" width="{1}" height="{2}">{3}</svg>'
    ).format(said, width, height, inside)


def _axes(low: float, high: float, left: str, right: str, width: int, height: int) -> Markup:
    drawn = _labels(low, high, left, right, width, height)
    if low < 0 < high:
        y = 6 + high / (high - low) * (height - BOTTOM - 10)
        drawn += Markup('<line class="axis" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"></line>').format(
            LEFT, width - 6, y, y
        )
    return drawn


def _labels(low: float, high: float, left: str, right: str, width: int, height: int) -> Markup:
    text = Markup('<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>')
    return Markup("").join(
        (
            text.format(LEFT - 4, 12, "end", _brief(high)),
            text.format(LEFT - 4, height - BOTTOM, "end", _brief(low)),
            text.format(LEFT, height - 3, "start", left),
            text.format(width - 6, height - 3, "end", right if right != left else ""),
        )
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\u2212")


def _brief(value: float) -> str:
    return f"{value:.3g}"
