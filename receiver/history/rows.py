"""Reads an export row by row, whatever its file is: JSON lines, an array, pages of an API, CSV or Parquet; gzip too."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import orjson

from foundation.errors import SettingsError

Row = dict[str, Any]

CHUNK = 1 << 20
"""Characters of an array that are read at once."""

PARQUET_ROWS = 256
"""Rows of a Parquet file that are objects at once."""

PAGES = ("data", "traces", "runs", "feedback")
"""Keys under which an API's page has its rows."""

OWN = {"id", "info", "trace_id"}
"""Keys that only a row has: what it has besides under a page's key is its own."""

WIDE = {b"\xff\xfe", b"\xfe\xff"}
"""Byte order marks of UTF-16, and of UTF-32."""

DELIMITERS = ",;\t"
"""Between the fields of CSV; with a comma for decimals, spreadsheets write another."""

BEGINNING = b"\xef\xbb\xbf \t\r\n"
"""What may stand before the first sign: a byte order mark, and white space."""


DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Unreadable:
    """A row that is none, and why."""

    reason: str


def read_rows(path: Path) -> Iterator[Row | Unreadable]:
    """Read the rows of a file, by what it begins with rather than by its name, a bounded part of it at a time.

    A document that is one object over several lines is read whole. Raises `SettingsError` where the file cannot be
    read, or is cut off.
    """
    try:
        with path.open("rb") as file:
            if file.peek(4)[:4] == b"PAR1":
                yield from _parquet(path)
            elif file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as inflated:
                    yield from _text(io.BufferedReader(cast("io.RawIOBase", inflated)))
            else:
                yield from _text(file)
    except (OSError, EOFError, zlib.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SettingsError(f"{path} cannot be read: {said}") from None


def _text(file: io.BufferedReader) -> Iterator[Row | Unreadable]:
    while (head := file.peek(1)[:1]) and head in BEGINNING:
        file.read(1)
    if head == b"[":
        with io.TextIOWrapper(file, encoding="utf-8", errors="replace") as text:
            yield from _array(text)
    elif head == b"{":
        yield from _objects(file)
    elif file.peek(2)[:2] in WIDE or b"\0" in file.peek(1):
        is_wide = file.peek(2)[:2] in WIDE
        raise SettingsError(
            f"{file.name} is text of two bytes a character" if is_wide else f"{file.name} is neither text nor Parquet",
            hint="Write it as UTF-8: iconv -f utf-16 -t utf-8 FILE" if is_wide else "Unpack it, if it is an archive.",
        )
    elif head == b"<":
        raise SettingsError(f"{file.name} is a page, not an export", hint="Was the download answered by a sign-in?")
    elif head:
        header = file.peek(1).partition(b"\n")[0]
        delimiter = max(DELIMITERS, key=lambda one: header.count(one.encode()))
        with io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="") as text:
            yield from _csv(text, delimiter)


def _objects(file: IO[bytes]) -> Iterator[Row | Unreadable]:
    """Read one object a line; where the first line is no whole object, one or several over many lines."""
    first = file.readline()
    try:
        yield from _expanded(orjson.loads(first))
    except orjson.JSONDecodeError:
        document = first + file.read()
        try:
            yield from _expanded(orjson.loads(document))
        except orjson.JSONDecodeError:
            yield from _several(document)
        return
    yield from _lines(file)


def _several(document: bytes) -> Iterator[Row | Unreadable]:
    """Read objects one after the other, each over some lines, as `jq` has them; from what is none on, by the line."""
    text, position = document.decode(errors="replace"), 0
    while position < len(text):
        try:
            value, position = DECODER.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError):
            yield from _lines(io.BytesIO(text[position:].encode()))
            return
        yield from _expanded(value)
        position = _after_white(text, position)


def _lines(file: IO[bytes]) -> Iterator[Row | Unreadable]:
    for line in file:
        if line.isspace():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield Unreadable("a line that is not JSON")
            continue
        yield from _expanded(value)


def _array(file: IO[str]) -> Iterator[Row | Unreadable]:
    """Read an array element by element, holding one of them and what was read beyond it."""
    text, position, size = file.read(CHUNK), 1, CHUNK
    while True:
        position = _after_white(text, position)
        if text[position : position + 1] == "]":
            return
        try:
            value, end = DECODER.raw_decode(text, position)
        except json.JSONDecodeError:
            more = file.read(size)
            if not more:
                yield Unreadable("the rest of an array that is broken off or not JSON")
                return
            text, position, size = text[position:] + more, 0, size * 2  # twice as much: else quadratic in a row's size
            continue
        except RecursionError:
            yield Unreadable("the rest of an array, nested too deep")
            return
        yield from _expanded(value)
        position, size = end, CHUNK


def _after_white(text: str, position: int) -> int:
    """Return where what stands between two values ends."""
    while position < len(text) and text[position] in ", \t\r\n":
        position += 1
    return position


def _expanded(value: Any) -> Iterator[Row | Unreadable]:  # noqa: ANN401 - any JSON value
    """Return the rows in a value: itself, or those of a list or of an API's page."""
    if isinstance(value, list):
        for item in value:
            yield from _expanded(item)
    elif not isinstance(value, dict):
        yield Unreadable("a row that is no object")
    else:
        page = next((value[key] for key in PAGES if isinstance(value.get(key), list)), None)
        if page is None or not OWN.isdisjoint(value):
            yield value
        else:
            yield from _expanded(page)


def _csv(file: IO[str], delimiter: str) -> Iterator[Row | Unreadable]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Unreadable("a line that is not CSV")
            continue
        if None in row or None in row.values():
            yield Unreadable("a line with more or fewer fields than the header")
        else:
            yield {key: value for key, value in row.items() if value}


def _parquet(path: Path) -> Iterator[Row | Unreadable]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                names = batch.schema.names
                for values in zip(*map(_values, batch.columns), strict=True):
                    yield {name: value for name, value in zip(names, values, strict=True) if value is not None}
    except pa.ArrowException as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - an Arrow array; the library is imported where a file is Parquet
    """Return the values of a column; instants become nanoseconds, which a `datetime` would cut."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts: list[Any] = column.to_numpy(zero_copy_only=False).tolist()  # several times as fast as scalar by scalar
        return texts
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    values: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    return values
