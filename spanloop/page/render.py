"""Templates, and how numbers, times and texts are written in them. Every value is escaped; none is trusted markup."""

import contextlib
import hashlib
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup, escape

HERE = Path(__file__).parent
STATIC = HERE / "static"

PAGES = (
    ("/", "Overview", False),
    ("/traces", "Traces", False),
    ("/episodes", "Episodes", False),
    ("/rewards", "Rewards", False),
    ("/tools", "Tools", False),
    ("/runs", "Nights", True),
    ("/training", "Training", True),
    ("/checkpoints", "Checkpoints", True),
    ("/prompts", "Prompts", True),
    ("/replay", "Replays", True),
    ("/sql", "SQL", False),
)
"""Address, title, and whether it shows what belongs to no one project."""

GRADES = {
    "A": "token ids and log-probabilities",
    "B": "token ids",
    "C": "text of our own model",
    "D": "text of another model",
}
"""What is known of a call's sampling, by grade of evidence."""

ENDS = frozenset("\u202c\u2069")

NOTHING = Markup('<span class="none" title="not known">&ndash;</span>')


def environment() -> Environment:
    """Return the templates with everything they may call."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=contained,
    )
    made.filters |= {
        "number": number,
        "signed": signed,
        "percent": percent,
        "seconds": seconds,
        "instant": instant,
        "size": size,
        "short": short,
        "pretty": pretty,
        "sign_class": sign_class,
        "measure": measure,
        "column_title": column_title,
        "quoted": lambda value: quote(str(value), safe=""),
    }
    made.globals |= {"pages": PAGES, "address": address, "version": _versions(), "nothing": NOTHING, "grades": GRADES}
    return made


TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows them, and those that end it."""


def contained(value: Any) -> Any:  # noqa: ANN401 - whatever a template writes
    r"""Return a text that turns nothing after it: what it opens for letters from right to left is closed at its end.

    >>> contained("a\u202eb"), contained("\u2067x\u2069"), contained(3)
    ('a\u202eb\u202c', '\u2067x\u2069', 3)
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isascii():
        return value
    opened: list[str] = []
    for found in TURNS.findall(value):
        if found in ENDS:
            opened = opened[:-1] if opened[-1:] == [found] else opened
        else:
            opened.append("\u2069" if found >= "\u2066" else "\u202c")
    return value + "".join(reversed(opened))


def _versions() -> dict[str, str]:
    """Return what stands behind the address of each static file, so that a browser keeps no old one."""
    files = (path for path in STATIC.rglob("*") if path.is_file())
    return {path.relative_to(STATIC).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in files}


def address(path: str, /, **query: Any) -> str:  # noqa: ANN401 - whatever stands in a URL
    """Return a path with the parameters that say something.

    >>> address("/traces", service="a b", agent="", limit=None)
    '/traces?service=a+b'
    """
    said = {name.rstrip("_"): value for name, value in query.items() if value not in (None, "", ())}
    return f"{path}?{urlencode(said, doseq=True)}" if said else path


def number(value: Any, digits: int = 4) -> str | Markup:  # noqa: ANN401 - a cell
    """Write a number so that it can be compared with its neighbours; what is no number stays as it is.

    >>> number(1234567), number(0.123456), number("x"), number(True)
    ('1,234,567', '0.1235', 'x', 'true')
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value and (abs(value) < 10**-digits or abs(value) >= 1e9):
            return f"{value:.3g}"
        return f"{value:,.{digits}f}".rstrip("0").rstrip(".") or "0"
    return str(value)


def signed(value: Any, digits: int = 3) -> str | Markup:  # noqa: ANN401 - a cell
    """Write a number with its sign, with a true minus.

    >>> signed(-0.5), signed(0.25), signed(0.0), signed(-0.0001)
    ('\u22120.5', '+0.25', '0', '0')
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NOTHING if value is None else str(value)
    text = f"{abs(value):,.{digits}f}".rstrip("0").rstrip(".")
    if text in {"0", ""}:
        return "0"
    return ("\u2212" if value < 0 else "+") + text


def sign_class(value: Any) -> str:  # noqa: ANN401 - a cell
    """Return the class of a number's colour."""
    if not isinstance(value, int | float) or value == 0:
        return "zero"
    return "plus" if value > 0 else "minus"


def percent(value: Any, digits: int = 0) -> str | Markup:  # noqa: ANN401 - a cell
    """Write a share as a percentage."""
    return NOTHING if not isinstance(value, int | float) else f"{100 * value:.{digits}f} %"


def seconds(value: Any) -> str | Markup:  # noqa: ANN401 - a cell
    """Write a duration given in seconds in the unit that suits it.

    >>> seconds(0.0004), seconds(0.25), seconds(12.34), seconds(200), seconds(90_000)
    ('400 µs', '250 ms', '12.3 s', '3 min 20 s', '25 h 0 min')
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        return NOTHING
    if 0 < value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def measure(value: Any, column: str) -> str | Markup:  # noqa: ANN401 - a cell
    """Write a number as what its column's name says it is: a share, or a time in seconds.

    >>> measure(0.25, "share_failed"), measure(0.25, "time_lost_s"), measure(0.25, "mean")
    ('25 %', '250 ms', '0.25')
    """
    if isinstance(value, float) and column.startswith("share_"):
        return percent(value, 0 if round(100 * value, 1) % 1 == 0 else 1)
    return seconds(value) if column.endswith("_s") else number(value)


def column_title(column: str) -> str:
    """Write a column's name as its heading; what `measure` writes with its unit needs none.

    >>> column_title("time_lost_s"), column_title("share_failed")
    ('time lost', 'share failed')
    """
    return column.removesuffix("_s").replace("_", " ")


def instant(value: Any) -> Markup:  # noqa: ANN401 - nanoseconds, or text of ISO 8601
    """Write an instant in UTC, marked so that a script can show it in the reader's zone."""
    when: datetime | None = None
    try:
        if isinstance(value, int | float):
            when = datetime.fromtimestamp(value / 1e9, UTC)
        elif isinstance(value, str):
            when = datetime.fromisoformat(value.replace(" ", "T"))
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        when = None
    if when is None:
        return NOTHING if value is None else escape(str(value)[:40])
    when = when.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%Y-%m-%d %H:%M:%S")
    )


def size(value: Any) -> str | Markup:  # noqa: ANN401 - a cell
    """Write a number of bytes."""
    if not isinstance(value, int | float):
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def short(value: Any, most: int = 60) -> str | Markup:  # noqa: ANN401 - a cell
    """Write the beginning of a text on one line, with a mark where there is more."""
    if value is None:
        return NOTHING
    text = " ".join(str(value)[: 4 * most].split())
    return text if len(text) <= most and len(str(value)) <= 4 * most else text[: most - 1] + "…"


def pretty(value: Any, most: int = 20_000) -> str:  # noqa: ANN401 - JSON, or text of it
    """Write JSON indented; text that is none stays as it is. What is beyond `most` characters is said to be."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value) if len(value) < 4 * most else value
    try:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = str(value)
    return text if len(text) <= most else f"{text[:most]}\n… {len(text) - most:,} more characters"
