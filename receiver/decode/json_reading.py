"""OTLP/JSON into messages, field by field: what one field says wrong costs that field alone.

The specification's deviations from protobuf's JSON hold (opentelemetry.io/docs/specs/otlp, JSON Protobuf Encoding): ids
are hex in any case (base64 is told from it by its length), 64-bit integers strings or numbers, unknown fields ignored;
both spellings of a name are read. A value of another type is taken for what it plainly says, else left out; either is
counted.
"""

import base64
import binascii
import json
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from receiver.decode.refusals import Undecodable
from receiver.decode.wire_repair import MAX_DEPTH, TOO_DEEP

ID_FIELDS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
"""Bytes that an id has, by field."""
SCALARS = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
"""Fields of AnyValue that a bare value is taken for."""

INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
FLOATS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})


def read_document(body: bytes) -> tuple[dict[str, Any], int]:
    """Parse JSON and return its object and how many mistakes in its text were mended. Raises `Undecodable`."""
    document: object
    num_mended = 0
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # What orjson refuses and the standard library reads: half a surrogate pair, NaN. Bad UTF-8 was nobody's.
        text = body.decode("utf-8", errors="replace")
        num_mended = int(text.encode() != body)
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise Undecodable(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Undecodable("the body is not a JSON object")
    return document, num_mended


class JsonReader:
    """Fills messages from parsed JSON and counts the fields it had to mend or leave out."""

    def __init__(self) -> None:
        self.num_replaced = 0

    def fill(self, message: Any, value: dict[str, Any], depth: int = 0) -> None:  # noqa: ANN401 - generated class
        """Set the fields of a message."""
        descriptor = message.DESCRIPTOR
        names = _fields(descriptor)
        seen = set()
        for key, item in value.items():
            field = names.get(key)
            if field is None or item is None:
                continue
            group = field.containing_oneof
            if field.name in seen or (group is not None and message.WhichOneof(group.name) is not None):
                self.num_replaced += 1
                continue
            seen.add(field.name)
            if field.is_repeated:
                self._fill_repeated(getattr(message, field.name), field, item, depth)
            elif field.message_type is not None:
                self._fill_message(getattr(message, field.name), item, depth)
            else:
                self._set(message, field, item)

    def _fill_repeated(self, items: Any, field: FieldDescriptor, value: object, depth: int) -> None:  # noqa: ANN401
        if not isinstance(value, list):
            self.num_replaced += 1
            return
        for item in value:
            if field.message_type is None:
                self.num_replaced += 1  # OTLP's requests have no repeated scalars in what is read here
            elif isinstance(item, dict) or field.message_type.name == "AnyValue":
                self._fill_message(items.add(), item, depth)
            else:
                self.num_replaced += 1

    def _fill_message(self, message: Any, value: object, depth: int) -> None:  # noqa: ANN401 - generated class
        message.SetInParent()
        if message.DESCRIPTOR.name == "AnyValue":
            depth += 1
            if depth > MAX_DEPTH:
                self.num_replaced += 1
                message.string_value = TOO_DEEP
                return
            if type(value) in SCALARS:
                self.num_replaced += 1
                value = {SCALARS[type(value)]: value}
        if isinstance(value, dict):
            self.fill(message, value, depth)
        elif value is not None:
            self.num_replaced += 1

    def _set(self, message: Any, field: FieldDescriptor, value: object) -> None:  # noqa: ANN401 - generated class
        try:
            setattr(message, field.name, self._scalar(field, value))
        except (ValueError, TypeError, KeyError, OverflowError, binascii.Error):
            # An identity of no use has its span rejected, which is counted there.
            self.num_replaced += not (message.DESCRIPTOR.name == "Span" and field.name in ("trace_id", "span_id"))

    def _scalar(self, field: FieldDescriptor, value: Any) -> object:  # noqa: ANN401 - whatever JSON has
        kind = field.cpp_type
        if field.type == FieldDescriptor.TYPE_BYTES:
            if not isinstance(value, str):
                raise TypeError
            return _id(value, ID_FIELDS[field.name]) if field.name in ID_FIELDS else _base64(value)
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._text(value)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return {True: True, False: False, "true": True, "false": False}[value]
        if kind == FieldDescriptor.CPPTYPE_ENUM and isinstance(value, str) and field.enum_type is not None:
            if value in field.enum_type.values_by_name:
                return field.enum_type.values_by_name[value].number
            return int(value)
        if isinstance(value, bool):
            raise TypeError
        if kind in FLOATS:
            return float(value)
        if isinstance(value, float) and not value.is_integer():
            raise ValueError
        return int(value)

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            if isinstance(value, dict | list):
                raise TypeError
            self.num_replaced += 1
            return orjson.dumps(value).decode()
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            self.num_replaced += 1
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value


def _id(text: str, size: int) -> bytes:
    """Read an id: hex, or what is no hex of its length as base64, as protobuf's own JSON mapping writes bytes."""
    return _base64(text) if len(text.rstrip("=")) == -(-size * 4 // 3) else bytes.fromhex(text)


def _base64(text: str) -> bytes:
    standard = text.replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    names: dict[str, FieldDescriptor] = {}
    for field in descriptor.fields:
        names[field.name] = names[field.camelcase_name] = names[field.json_name] = field
    return names
