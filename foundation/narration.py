"""Narration on stderr: human lines and progress bars on a terminal, one plain line an event elsewhere.

Data goes to stdout and never passes through here. Prompts, completions and secrets never do either.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LogFormat = Literal["auto", "text", "json"]

Item = TypeVar("Item")


def configure(log_format: LogFormat = "auto", *, level: int = logging.INFO) -> None:
    """Send the narration of this process to stderr.

    `auto` and `text` print one readable line an event, coloured on a terminal; `json` prints one JSON object an event.
    """
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(stage: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of one stage; every line it writes carries the stage's name.

    Use it as `log.info("landed", spans=512)`: an event in a few words, its facts as keywords.
    """
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=stage)
    return logger


def track(items: Iterable[Item], *, total: int, label: str) -> Iterator[Item]:
    """Yield the items, showing a progress bar on a terminal and nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total)
        for item in items:
            yield item
            progress.advance(task)
