"""Several receivers as one: each is asked for its part of a trace, and what they say is put together.

A request's number is its receiver's. Put together, numbers of the n-th receiver (from 0) are larger by n times `STEP`;
how far each has been read is kept by its URL in the watermark (`receivers`), in whose order receivers keep their place:
the one that was there first is the first that was named, and its numbers are what they were.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from etl.episodes.grouping import Trace
from etl.published.window import Window, Windows
from etl.runs import source
from etl.runs.source import TraceFacts
from etl.schema import read_watermark
from etl.tables import STEP
from foundation.errors import SettingsError
from foundation.web import places
from receiver.schema import Reader, connect, sources

Answer = TypeVar("Answer")


class Several:
    """The receivers a run reads, in the order in which they keep their numbers."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self.urls = tuple(readers)
        self._readers = tuple(readers.values())

    def ask(self, question: Callable[[Reader], Answer]) -> list[Answer]:
        """Return every receiver's answer."""
        return [question(reader) for reader in self._readers]

    @property
    def readers(self) -> tuple[Reader, ...]:
        """Return the receivers."""
        return self._readers

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:  # noqa: ARG002 - a reader's
        """Refuse: one statement over several receivers has no answer here."""
        raise SettingsError(f"{len(self.urls)} receivers are named; this asks one", hint="Name one --receiver.")

    stream = query

    def close(self) -> None:
        """Let go of all."""
        for reader in self._readers:
            reader.close()


def open_receivers(data: Path) -> Reader:
    """Return what the ETL reads: DATA or the receiver that was named, or several, or those whose days a store has."""
    named = places.receivers()
    known = list((read_watermark(data) or {}).get("receivers", {}))
    if len(named) < 2 and not known and not any(place.is_store for place in named):
        return connect(data)
    found = sources(data, named)
    missing = [url for url in known if url not in found]
    if missing:
        raise SettingsError(
            f"this dataset is made of {len(known)} receivers, and {missing[0]} is not named",
            hint="Name them all, each with --receiver: a trace may have spans in any.",
        )
    fresh = [url for url in found if url not in known]
    return Several({url: found[url]() for url in [*known, *fresh]})


def find_window(
    reader: Reader, *, watermark: Mapping[str, Any], since: datetime | None, until: datetime | None
) -> Window | None:
    """Return the window of what was received in [since, until), or since the last run; None when that is nothing."""
    processed: int = watermark["received_seq"]
    if not isinstance(reader, Several):
        return source.find_window(reader, after_seq=processed, since=since, until=until)
    before = reached_before(reader, watermark)
    found = [
        source.find_window(one, after_seq=after, since=since, until=until)
        for one, after in zip(reader.readers, before, strict=True)
    ]
    if not any(found):
        return None
    each = tuple(
        (after + 1, after) if window is None else (window.since_seq, window.until_seq)
        for window, after in zip(found, before, strict=True)
    )
    return Windows(sum(first - 1 for first, _ in each) + 1, sum(last for _, last in each), each)


def reached_before(reader: Reader, watermark: Mapping[str, Any]) -> list[int]:
    """Return how far each receiver has been read by earlier runs."""
    assert isinstance(reader, Several)
    known: dict[str, int] = watermark.get("receivers", {})
    first = 0 if known else watermark["received_seq"]
    return [known.get(url, first if number == 0 else 0) for number, url in enumerate(reader.urls)]


def touched_traces(reader: Reader, window: Window) -> set[Trace]:
    """Return the traces, or stand-ins of one, of which a span or a log record came in a window."""
    if not isinstance(reader, Several):
        return source.touched_traces(reader, window)
    assert isinstance(window, Windows)
    found = [
        source.touched_traces(one, Window(first, last))
        for one, (first, last) in zip(reader.readers, window.each, strict=True)
        if first <= last
    ]
    return set().union(*found)


def trace_facts(reader: Reader, traces: Collection[Trace]) -> list[TraceFacts]:
    """Return the size of each trace that has spans, ordered by their begin, without links; then the stand-ins."""
    if not isinstance(reader, Several):
        return source.trace_facts(reader, traces)
    parts: dict[Trace, list[TraceFacts]] = defaultdict(list)
    for number, facts in enumerate(reader.ask(lambda one: source.trace_facts(one, traces))):
        for fact in facts:
            parts[fact.trace].append(_numbered(fact, number))
    found = [_one(facts) for facts in parts.values()]
    return sorted(found, key=lambda fact: (fact.num_spans == 0, fact.start_ns, fact.trace))


def _numbered(fact: TraceFacts, number: int) -> TraceFacts:
    if not fact.num_spans:
        return fact
    return replace(fact, first_seq=fact.first_seq + number * STEP, last_seq=fact.last_seq + number * STEP)


def _one(facts: Sequence[TraceFacts]) -> TraceFacts:
    """Put together what receivers know of one trace. A span that reached two counts twice: it is about memory."""
    return TraceFacts(
        facts[0].trace,
        sum(fact.num_spans for fact in facts),
        sum(fact.num_bytes for fact in facts),
        min(fact.first_seq for fact in facts),
        max(fact.last_seq for fact in facts),
        min(fact.start_ns for fact in facts),
        max(fact.end_ns for fact in facts),
        all(fact.is_gateway for fact in facts),
        tuple(sorted({link for fact in facts for link in fact.links})),
    )


def with_links(reader: Reader, facts: Sequence[TraceFacts]) -> list[TraceFacts]:
    """Return the traces with the ids that they may share with others."""
    if not isinstance(reader, Several):
        return source.with_links(reader, facts)
    told = reader.ask(lambda one: source.with_links(one, facts))
    return [
        replace(fact, links=tuple(sorted({link for one in same for link in one.links})))
        for fact, *same in zip(facts, *told, strict=True)
    ]


def read_traces(
    reader: Reader, traces: Collection[Trace], received: tuple[int, int] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return every span and every log record of these traces, of whichever receivers; of stand-ins the rewards."""
    if not isinstance(reader, Several):
        return source.read_traces(reader, traces, received)
    spans: list[pl.DataFrame] = []
    logs: list[pl.DataFrame] = []
    for number, one in enumerate(reader.readers):
        own = None if received is None else (max(0, received[0] - number * STEP), received[1] - number * STEP)
        for frames, rows in zip((spans, logs), source.read_traces(one, traces, own), strict=True):
            frames.append(rows.with_columns(pl.col("received_seq") + number * STEP))
    return pl.concat(spans), pl.concat(logs)


def reached(reader: Reader, window: Window, watermark: Mapping[str, Any]) -> dict[str, int]:
    """Return how far each of several receivers has been read once a window is published, by URL."""
    if not isinstance(reader, Several) or not isinstance(window, Windows):
        return {}
    return {
        url: max(last, after) if first <= after + 1 else after
        for url, (first, last), after in zip(reader.urls, window.each, reached_before(reader, watermark), strict=True)
    }
