"""Rows of a query as text: JSON, CSV, and what stands in a cell of a table.

Every value DuckDB knows has a form in each: `infinity` for an instant without end, hex for bytes, JSON for lists,
structs and maps, an exact number for a sum however large. Column names of JSON objects are made distinct (`a`, `a_1`),
because an object holds each name once; CSV keeps them as they are.
"""

import io
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv

BATCH_ROWS = 20_480
"""Rows that are Python objects at one time: they take many times their size as columns."""


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names with a number behind those that stood before.

    >>> distinct(["a", "b", "a", "a_1", "a"])
    ['a', 'b', 'a_2', 'a_1', 'a_3']
    """
    wanted = list(names)
    taken: set[str] = set()
    found: list[str] = []
    for position, name in enumerate(wanted):
        number, unique = 0, name
        while unique in taken or (number and unique in wanted[position:]):
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        found.append(unique)
    return found


def as_json(rows: pa.Table) -> bytes:
    """Return an array of one object a row."""
    named = rows.rename_columns(distinct(rows.column_names))
    pieces = (
        orjson.dumps(_objects(batch), default=_plain, option=orjson.OPT_NON_STR_KEYS)[1:-1]
        for batch in named.to_batches(BATCH_ROWS)
    )
    return b"[" + b",".join(piece for piece in pieces if piece) + b"]"


def as_csv(rows: pa.Table) -> bytes:
    """Return a header and one line a row."""
    columns = [column if _has_csv_form(column) else _texts(column) for column in rows.columns]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(pa.table(columns, names=rows.column_names), sink)
    return sink.getvalue()


def as_cells(rows: pa.Table) -> list[list[str]]:
    """Return the text of every cell, row by row; nothing for null."""
    columns = [["" if value is None else _text(value) for value in _values(column)] for column in rows.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _objects(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    columns = [_values(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _has_csv_form(column: pa.ChunkedArray) -> bool:
    kind = column.type
    is_plain = any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_boolean,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_decimal,
            pa.types.is_string,
            pa.types.is_null,
        )
    )
    return is_plain or (_is_instant(kind) and not _is_beyond_python(column))


def _is_instant(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_beyond_python(column: pa.ChunkedArray) -> bool:
    try:
        column.to_pylist()
    except (OverflowError, ValueError):
        return True
    return False


def _texts(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if value is None else _text(value) for value in _values(column)], pa.string())


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column, spelling the instants that Python's calendar does not hold."""
    try:
        return cast("list[Any]", column.to_pylist())
    except (OverflowError, ValueError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:  # noqa: ANN401 - any Arrow scalar
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(scalar[name]) for name in scalar.type.names}
    if isinstance(scalar, pa.MapScalar):
        return [[_value(pair["key"]), _value(pair["value"])] for pair in scalar.values]
    if isinstance(scalar, pa.ListScalar | pa.FixedSizeListScalar):
        return [_value(item) for item in scalar.values]
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return _instant(scalar)


def _instant(scalar: Any) -> str:  # noqa: ANN401 - a timestamp or date
    count = scalar.value
    bits = 32 if pa.types.is_date32(scalar.type) else 64
    if count >= 2 ** (bits - 1) - 1:
        return "infinity"
    if count <= -(2 ** (bits - 1) - 1):
        return "-infinity"
    return str(np.datetime64(count, "D" if bits == 32 else scalar.type.unit))


def _text(value: object) -> str:
    if isinstance(value, list | dict):
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    return str(_plain(value)) if isinstance(value, bytes | pa.MonthDayNano) else str(value)


def _plain(value: object) -> object:
    """Return what JSON has for a value it does not know: exact digits for a number, else text."""
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        return orjson.Fragment(str(value))
    if isinstance(value, pa.MonthDayNano):  # as ISO 8601 writes a duration
        return f"P{value.months}M{value.days}DT{value.nanoseconds / 1e9:g}S"
    return value.hex() if isinstance(value, bytes) else str(value)
