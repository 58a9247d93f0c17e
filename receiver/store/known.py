"""Which rows that arrive are here already, hot or in a day file: spans by their ids, log requests by their bytes.

A filter in memory clears nearly every new span; only what it suspects is looked for.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from receiver.days.files import filter_path
from receiver.days.held import HeldDays
from receiver.decode.arrow import SCHEMAS
from receiver.store import identity
from receiver.store.settle import IDS
from receiver.store.snapshots import Snapshots
from receiver.store.tail import Decoded

SAVE_EVERY_SPANS = 1 << 18
"""A start reads about a million identities a second."""


class KnownRows:
    """What has been published before; used by the one thread that publishes."""

    def __init__(self, days: HeldDays, snapshots: Snapshots) -> None:
        self._days = days
        self._snapshots = snapshots
        self._unsaved: Counter[date] = Counter()
        """Identities that a start after a crash would have to find in the rows."""

        self._filters = {day: self._load(day) for day in days.sealed}

    def requests_with_known_spans(self, requests: Sequence[Decoded]) -> set[int]:
        """Return the positions of the requests that hold a span known already, be it from an earlier one of them."""
        spans = [(index, request) for index, request in enumerate(requests) if request.table == "spans"]
        hashed = [identity.hashes(request.batch) for _, request in spans]
        if not hashed:
            return set()
        together = np.concatenate(hashed)
        owner = np.repeat([index for index, _ in spans], [len(part) for part in hashed])
        _, first = np.unique(together, return_index=True)
        is_repeated = np.ones(len(together), np.bool_)
        is_repeated[first] = False
        is_suspect = np.zeros(len(together), np.bool_)
        for known in list(self._filters.values()):  # a day may be removed meanwhile
            is_suspect |= known.contains(together)
        for (_, request), part in zip(spans, hashed, strict=True):
            self._filter_of(request.day).add(part)
            self._unsaved[request.day] += len(part)
        suspects = np.flatnonzero(is_suspect & ~is_repeated)
        known_owners = {int(index) for index in owner[is_repeated]}
        if len(suspects):
            batches = pa.Table.from_batches([request.batch.select(list(IDS)) for _, request in spans])
            is_known = self._is_stored(batches.take(pa.array(suspects)))
            known_owners |= {int(index) for index in owner[suspects[is_known]]}
        return known_owners

    def _is_stored(self, suspects: pa.Table) -> npt.NDArray[np.bool_]:
        """Tell for each row of ids whether such a span is hot or in a day file."""
        with self._snapshots.take() as snapshot:
            cursor = snapshot.connection
            cursor.register("suspects", suspects.append_column("row", pa.array(range(suspects.num_rows))))
            cursor.register("waiting", pa.Table.from_batches(snapshot.tail["spans"], schema=SCHEMAS["spans"]))
            sources = ("waiting", *(f"{name}.spans" for name in snapshot.databases))
            # By trace first: joining all rows on one column and few on three costs less than half.
            near = " union all ".join(
                f"select {', '.join(IDS)} from {source} where trace_id in (select trace_id from suspects)"
                for source in sources
            )
            rows = cursor.execute(
                f"""
                with near as materialized ({near})
                select row from suspects semi join near using ({", ".join(IDS)})
                """
            ).fetchall()
        is_stored = np.zeros(suspects.num_rows, np.bool_)
        is_stored[[row for (row,) in rows]] = True
        return is_stored

    def log_requests(self, requests: Sequence[Decoded]) -> set[str]:
        """Return the keys of those requests of log records that are in a day file."""
        if not requests or not self._days.sealed:
            return set()
        digests = [request.body_digest for request in requests]
        files = " union all ".join(f"from {self._days.name(day)}.log_requests" for day in list(self._days.sealed))
        with self._days.cursor() as cursor:
            rows = cursor.execute(
                f"select project || ' ' || digest from ({files}) where list_contains(?, digest)", [digests]
            ).fetchall()
        return {row[0] for row in rows}

    # --- the filters

    def _filter_of(self, day: date) -> identity.IdentityFilter:
        return self._filters.setdefault(day, identity.IdentityFilter())

    def _load(self, day: date) -> identity.IdentityFilter:
        """Return the identities of a day file: as kept beside it, and those of the rows that came since."""
        path = filter_path(self._days.data, day)
        kept = identity.IdentityFilter.load(path)
        if kept is None or kept.num_rows != self._num_spans(day, until_seq=kept.reached_seq):
            kept = identity.Kept(identity.IdentityFilter(), 0, -1)
        found = kept.identities
        rows = f"select {', '.join(IDS)} from {self._days.name(day)}.spans where received_seq > {kept.reached_seq}"
        for batch in self._days.connection.sql(rows).to_arrow_reader(1 << 17):
            found.add(identity.hashes(batch))
            self._unsaved[day] += batch.num_rows
        if self._days.sealed[day] and self._unsaved[day]:
            self.save(day, 2**62, identities=found)
        return found

    def save(self, day: date, landed_seq: int, *, identities: identity.IdentityFilter | None = None) -> None:
        """Keep the identities of a day beside its file, for the next start; all up to a number have landed."""
        unsaved = self._unsaved[day]
        with contextlib.suppress(OSError, duckdb.Error):  # it only saves time
            (identities or self._filter_of(day)).save(
                filter_path(self._days.data, day),
                num_rows=self._num_spans(day, until_seq=landed_seq),
                reached_seq=landed_seq,
            )
            self._unsaved[day] -= unsaved

    def save_long(self, landed_seq: int) -> None:
        """Keep the identities of days to which many have come, so that no start has to read a whole day."""
        for day in [day for day, num in list(self._unsaved.items()) if num >= SAVE_EVERY_SPANS]:
            self.save(day, landed_seq)

    def forget(self, day: date) -> None:
        """Let go of the identities of a day that is no more."""
        self._filters.pop(day, None)
        self._unsaved.pop(day, None)

    def _num_spans(self, day: date, *, until_seq: int) -> int:
        counting = f"select count(*) from {self._days.name(day)}.spans where received_seq <= ?"
        with self._days.cursor() as cursor:
            return int(cursor.execute(counting, [until_seq]).fetchall()[0][0])
