"""Everything taken so far as one consistent set: what the store hands out and queries are built on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True)
class Snapshot:
    """The day files and the rows that have not landed, as of one moment; each row is in one of them."""

    data: Path
    connection: "duckdb.DuckDBPyConnection"
    """Inside a transaction that holds the moment."""

    live: tuple[str, ...]
    """Names under which the days are attached that only this process can read."""

    sealed: Mapping[str, Path]
    """The same for days whose files any process may open, with these."""

    tail: Mapping[str, "list[pa.RecordBatch]"]
    """Batches of each table that have not landed."""

    @property
    def databases(self) -> tuple[str, ...]:
        """Names of all days."""
        return (*self.live, *self.sealed)
