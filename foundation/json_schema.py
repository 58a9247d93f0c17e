"""Judges a value by a JSON schema that a stranger wrote: no network, bounded work, and no answer where there is none.

What a schema asks for may be out of reach (`$ref` to elsewhere), endless (a `$ref` to itself), or dearer than an answer
is worth (a pattern that backtracks, alternatives that multiply). Such a schema judges nothing: None, no yes and no no.
The work is counted in keywords applied, not in seconds, so the answer is the same on every machine.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import orjson
import polars as pl
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema_specifications import REGISTRY

MAX_WORK: Final = 20_000
"""Keywords applied to parts of one value; half a second."""

MAX_WORK_OF_SCHEMA: Final = 50_000
"""Keywords of the schema of schemas applied to parts of a schema, once."""

BYTES_A_STEP: Final = 1_000
"""An error quotes what is wrong: its price is the value's length in these."""

LONGEST_PATTERN: Final = 1000
LONGEST_TEXT: Final = 10_000
"""Characters of a pattern, and of what it is searched in: the search takes their product at most."""

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class _Unjudgeable(Exception):
    """There is no answer, or none worth its price."""


def judge(value: Any, schema: Any) -> bool | None:  # noqa: ANN401 - any JSON value
    """Tell whether a value is valid by a schema (draft 2020-12); None where the schema cannot say.

    >>> judge({"q": 1}, {"required": ["q"]}), judge({}, {"required": ["q"]}), judge({}, {"$ref": "https://a.example/s"})
    (True, False, None)
    """
    try:
        text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
        size = len(orjson.dumps(value))
    except TypeError:  # too deep, or a number of more than 64 bits
        return None
    validator = _validator(text)
    if validator is None:
        return None
    _meter.left, _meter.price = MAX_WORK, 1 + size // BYTES_A_STEP
    try:
        return bool(validator.is_valid(value))
    except Exception:  # noqa: BLE001 - whatever the schema leads to: a missing reference, no end, arithmetic
        return None


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:  # noqa: ANN401 - the validator class is made here
    """Return the validator of a schema, as JSON; None where it is no schema."""
    parsed = orjson.loads(schema)
    _meter.left, _meter.price = MAX_WORK_OF_SCHEMA, 1 + len(schema) // BYTES_A_STEP
    try:
        if not Bounded(Bounded.META_SCHEMA, registry=REGISTRY).is_valid(parsed):
            return None
    except Exception:  # noqa: BLE001 - as above
        return None
    return Bounded(parsed, registry=REGISTRY)


class _Meter:
    """Work that is left in the judgement under way; a process makes one at a time."""

    left = 0
    price = 1

    def charge(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise _Unjudgeable


_meter = _Meter()


def _metered(keyword: Keyword) -> Keyword:
    def apply(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401
        _meter.charge(1 + (len(wanted) if isinstance(wanted, list) else 0))
        for error in keyword(validator, wanted, instance, schema) or ():
            _meter.charge(_meter.price)
            yield error

    return apply


def _found(pattern: str, text: str) -> bool:
    """Search a text in time linear in its length; an engine that backtracks has patterns that never end."""
    if len(pattern) > LONGEST_PATTERN or len(text) > LONGEST_TEXT:
        raise _Unjudgeable
    _meter.charge(1 + len(pattern) * len(text) // 10_000)
    return bool(pl.select(pl.lit(text).str.contains(pattern, strict=True)).item())


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401, ARG001
    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any,  # noqa: ANN401
    wanted: dict[str, Any],
    instance: Any,  # noqa: ANN401
    schema: Any,  # noqa: ANN401, ARG001
) -> Iterator[ValidationError]:
    for pattern, inner in wanted.items() if isinstance(instance, dict) else ():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    for name, value in instance.items() if isinstance(instance, dict) else ():
        known = name in schema.get("properties", {}) or any(
            _found(p, name) for p in schema.get("patternProperties", {})
        )
        if not known:
            yield from validator.descend(value, wanted, path=name)


def _unevaluated_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    if b'"patternProperties"' in orjson.dumps(validator.schema):
        raise _Unjudgeable  # the library would search with an engine that backtracks
    yield from Draft202012Validator.VALIDATORS["unevaluatedProperties"](validator, wanted, instance, schema)


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401, ARG001
    if wanted and isinstance(instance, list):
        _meter.charge(len(instance))
        if len({orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}) < len(instance):
            yield ValidationError("not unique")


Bounded: Any = validators.extend(
    Draft202012Validator,
    {
        name: _metered(keyword)
        for name, keyword in {
            **Draft202012Validator.VALIDATORS,
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "unevaluatedProperties": _unevaluated_properties,
            "uniqueItems": _unique_items,
        }.items()
    },
)
"""The draft's validator with every keyword metered, and those that search or compare without bound replaced."""
