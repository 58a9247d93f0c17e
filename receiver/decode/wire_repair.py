"""Mends an export request that the strict parser refuses for the sake of a few fields.

One string that is not UTF-8, or one value nested deeper than the parser goes, makes protobuf refuse the whole request.
Here such a field alone is replaced: bad bytes by U+FFFD, a value nested too deep by a marker. What is not protobuf at
all stays refused. This is slow and runs only after the strict parser has said no.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

MAX_DEPTH = 24
"""Levels of nesting kept inside one attribute value; the parser itself gives up at a hundred messages."""

MAX_FIELDS = 2_000_000
"""Fields looked at before a request counts as hopeless, so that nobody can buy minutes of CPU with one message."""

TOO_DEEP = "(value nested too deep, not kept)"

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


class Irreparable(Exception):
    """The bytes are not this message, whatever is done to its fields."""


def repair_wire(message: type[Any], body: bytes) -> tuple[Any, int]:
    """Return the parsed message and how many fields were replaced to make it so. Raises `Irreparable`."""
    for skip_clean in (True, False):
        mender = _Mender(skip_clean=skip_clean)
        mended = mender.mend(message.DESCRIPTOR, body, depth=0)
        try:
            return message.FromString(mended), mender.num_replaced
        except DecodeError as error:
            failure = error
    raise Irreparable(str(failure))


class _Mender:
    def __init__(self, *, skip_clean: bool) -> None:
        self.num_replaced = 0
        self._skip_clean = skip_clean
        self._num_fields = 0

    def mend(self, descriptor: Descriptor, body: bytes, depth: int) -> bytes:
        if self._skip_clean and _parses(descriptor, body):
            return body
        if descriptor.name == "AnyValue":
            depth += 1
            if depth > MAX_DEPTH:
                self.num_replaced += 1
                text = TOO_DEEP.encode()
                return b"\x0a" + _varint(len(text)) + text  # AnyValue.string_value
        parts: list[bytes] = []
        for number, wire_type, raw, value in _fields(body):
            self._num_fields += 1
            if self._num_fields > MAX_FIELDS:
                raise Irreparable("too many fields to mend")
            field = descriptor.fields_by_number.get(number)
            if field is None or wire_type != DELIMITED or value is None:
                parts.append(raw)
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                parts.append(_delimited(number, self.mend(field.message_type, value, depth)))
            elif field.type == FieldDescriptor.TYPE_STRING:
                parts.append(_delimited(number, self._mend_text(value)))
            else:
                parts.append(raw)
        return b"".join(parts)

    def _mend_text(self, value: bytes) -> bytes:
        text = value.decode("utf-8", errors="replace").encode()
        self.num_replaced += text != value
        return text


def _parses(descriptor: Descriptor, body: bytes) -> bool:
    try:
        GetMessageClass(descriptor).FromString(body)
    except DecodeError:
        return False
    return True


def _fields(body: bytes) -> Iterator[tuple[int, int, bytes, bytes | None]]:
    """Yield field number, wire type, raw bytes with the tag, and the content of length-delimited fields."""
    offset = 0
    while offset < len(body):
        start = offset
        tag, offset = _read_varint(body, offset)
        number, wire_type = tag >> 3, tag & 7
        value = None
        if wire_type == VARINT:
            _, offset = _read_varint(body, offset)
        elif wire_type == FIXED64:
            offset += 8
        elif wire_type == FIXED32:
            offset += 4
        elif wire_type == DELIMITED:
            length, offset = _read_varint(body, offset)
            value = body[offset : offset + length]
            offset += length
        else:
            raise Irreparable(f"wire type {wire_type} at byte {start}")
        if number == 0 or offset > len(body):
            raise Irreparable(f"cut short at byte {start}")
        yield number, wire_type, body[start:offset], value


def _read_varint(body: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if offset >= len(body):
            break
        byte = body[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise Irreparable(f"bad varint before byte {offset}")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _delimited(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | DELIMITED) + _varint(len(value)) + value
