"""Takes secrets and personal data out of what a span says, before anybody keeps it. Standard library only.

What is found is replaced by a placeholder of its kind, `<EMAIL_4821>`: a constant marker would teach a model to write
the marker, and two people must stay two. The number is a keyed hash of what was found, so one address has one
placeholder in every span, process and day, whoever redacts: agent, receiver or gateway, as long as they share the key.
Without a key the hash is short, so that a guess cannot be confirmed.

What token ids and log-probabilities say cannot be redacted: they are dropped from a span where its text was, and where
there is no text to look at.
"""

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from otel_exporter.remembered import Beginnings, Texts
from otel_exporter.schema import REDACTED
from otel_exporter.sensitive import FINDERS, KINDS, Finder, Found, is_secret_name, may_hold, normal_form

MAX_DEPTH = 12
"""How deep JSON inside texts inside JSON is read as such."""

PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9_]{0,30}_\d{1,6}>")

_EVIDENCE = re.compile(r"token_?ids|logprobs?(?:$|[^a-z])", re.IGNORECASE)
_CONTENT = re.compile("message|prompt|completion|input|output|body|content|text|choice", re.IGNORECASE)
_CONTENT_ONLY = re.compile("messages|body$", re.IGNORECASE)
_HEX_ESCAPE = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_AUTHORIZATION = re.compile(r"(?:bearer|basic|token)\s+", re.IGNORECASE)
_SCHEMA_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_REMEMBERED = 4096
PRESIDIO = frozenset({"presidio", "presidio-patterns"})
"""What asks Presidio as well, with a model and without one."""


class Redactor:
    """Redacts by patterns and by names of fields.

    `kinds` are those of `otel_exporter.sensitive.KINDS`; `patterns` further ones, kind to regular expression;
    `names` further names of secret fields; `key` makes placeholders that nobody without it can tell the text of; `find`
    finds what no pattern can (names of people), e.g. `otel_exporter.presidio.finder()`.
    """

    def __init__(
        self,
        kinds: Iterable[str] = KINDS,
        *,
        patterns: "Mapping[str, str] | None" = None,
        names: Iterable[str] = (),
        key: str = "",
        find: "Finder | None" = None,
    ) -> None:
        self._kinds = frozenset(kinds)
        if unknown := self._kinds - set(KINDS):
            raise ValueError(f"{', '.join(sorted(unknown))}: no such kind; there are {', '.join(KINDS)}")
        self._finders: list[Finder] = [FINDERS[kind] for kind in KINDS if kind in self._kinds]
        self._always = find is not None
        self._patterns = {kind: re.compile(pattern) for kind, pattern in (patterns or {}).items()}
        for kind, pattern in self._patterns.items():
            if not re.fullmatch("[A-Z][A-Z0-9_]{0,30}", kind):
                raise ValueError(f"{kind!r} is no kind: use capital letters, as in TICKET")
            self._finders.insert(0, _by_pattern(kind, pattern))
        if find is not None:
            self._finders.append(find)
        self._names = frozenset(name.lower().replace("-", "_").replace(".", "_") for name in names)
        self._key = hashlib.blake2b(key.encode(), digest_size=32).digest() if key else b""
        self._space = 1_000_000 if key else 10_000
        self._looked_at = Texts()
        self._beginnings = Beginnings()
        self._known_names: dict[str, bool] = {}
        self._plain_names: set[str] = set()

    def text(self, text: str) -> str:
        """Return a text with what was found replaced; the same object where nothing was."""
        return self._text(text, {}, 0)

    def span(self, *parts: Mapping[str, Any]) -> "tuple[list[dict[str, Any]], int]":
        """Return the attributes of a span and of each of its events redacted, and how many values changed.

        The first part is the span's own: it is told how many (`spanloop.redacted`), and whatever a telling name showed
        to be a secret is replaced wherever else the span says it.
        """
        named: dict[str, str] = {}
        done = [self._attributes(part, named) for part in parts]
        if named:
            done = [{key: _replaced(value, named) for key, value in part.items()} for part in done]
        num_changed = sum(map(_num_changed, parts, done))
        if num_changed or (
            any(not part.keys() <= self._plain_names for part in parts)
            and any(_is_evidence(key, value) for part in parts for key, value in part.items())
            and not any(_is_content(key, value) for part in parts for key, value in part.items())
        ):
            done = [_without_evidence(part) for part in done]
        if num_changed and done:
            done[0][REDACTED] = num_changed + _count(parts[0].get(REDACTED))
        return done, num_changed

    def placeholder(self, kind: str, text: str) -> str:
        """Return what stands for a text of a kind, always the same for the same."""
        digest = hashlib.blake2b(f"{kind}\0{normal_form(kind, text)}".encode("utf-8", "surrogatepass"), key=self._key)
        return f"<{kind}_{int.from_bytes(digest.digest()[:8], 'big') % self._space + 1}>"

    def _attributes(self, part: Mapping[str, Any], named: "dict[str, str]") -> "dict[str, Any]":
        done = {}
        for key, value in part.items():
            if key not in self._plain_names:
                name, value = self._name(key), self._value(key, value, named, 0)
                if name is key and not self._is_secret(key) and not _means(key)[0]:
                    self._remember(key)
                done[name] = value
            elif type(value) is str:
                done[key] = self._text(value, named, 0)
            else:
                done[key] = self._value(key, value, named, 0)
        return done

    def _remember(self, name: str) -> None:
        if len(self._plain_names) < _REMEMBERED and len(name) < 200:
            self._plain_names.add(name)

    def _value(self, key: str, value: Any, named: "dict[str, str]", depth: int) -> Any:  # noqa: ANN401
        """Return a value that stands under a name, redacted; the same object where nothing was."""
        if isinstance(value, bool) or value is None or _is_evidence(key, value):
            return value
        if self._is_secret(key):
            return self._secret(value, named, depth)
        if isinstance(value, str):
            return self._text(value, named, depth)
        if isinstance(value, int):
            return self._number(value) if abs(value) > 10**11 else value
        if isinstance(value, bytes):
            text = value.decode("utf-8", "surrogateescape")
            return value if (new := self._text(text, named, depth)) is text else new.encode("utf-8", "surrogateescape")
        if isinstance(value, Mapping):
            pairs = [(name, one, self._name(name), self._value(name, one, named, depth)) for name, one in value.items()]
            is_same = all(name is new_name and one is new for name, one, new_name, new in pairs)
            return value if is_same else {new_name: new for _, _, new_name, new in pairs}
        if isinstance(value, Sequence):
            items = [self._value("", one, named, depth) for one in value]
            return value if all(a is b for a, b in zip(items, value)) else type(value)(items)  # type: ignore[call-arg] # noqa: B905
        return value

    def _secret(self, value: Any, named: "dict[str, str]", depth: int) -> Any:  # noqa: ANN401
        """Return what stands for all that stands under a telling name; a schema of such a field is none."""
        if isinstance(value, Mapping):
            if _is_schema(value):
                return self._value("", value, named, depth)
            return {name: self._secret(one, named, depth) for name, one in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return type(value)([self._secret(one, named, depth) for one in value])  # type: ignore[call-arg]
        if isinstance(value, bool) or value is None or value in ("", b""):
            return value
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if isinstance(value, str) and depth < MAX_DEPTH and text.lstrip()[:1] in ("{", "["):
            parsed = _parsed(text)
            with contextlib.suppress(RecursionError):
                if parsed is not None:
                    return _dumped(self._secret(parsed, named, depth + 1))
        scheme = _AUTHORIZATION.match(text)
        said, text = (scheme.group(), text[scheme.end() :]) if scheme else ("", text)
        if not text or PLACEHOLDER.fullmatch(text):
            return value
        found = [kind for start, end, kind in self._found(text) if (start, end) == (0, len(text))]
        new = self.placeholder(found[0] if found else "SECRET", text)
        if len(text) >= 12 or (len(text) >= 6 and not text.isalpha()):
            named[text] = new
        return said + new

    def _number(self, value: int) -> "int | str":
        text = str(value)
        return value if (new := self._plain(text)) is text else new

    def _text(self, text: str, named: "dict[str, str]", depth: int) -> str:
        if len(text) < 4:
            return text
        known = self._looked_at.get((depth, text))
        if known is not None:
            return known
        if not self._may_hold(text):
            self._looked_at.keep((depth, text), text)
            return text
        named_here: dict[str, str] = {}
        new = self._looked_into(text, named_here, depth)
        if named_here:  # every span that says it has to hear of it
            named.update(named_here)
        else:
            self._looked_at.keep((depth, text), new)
        return new

    def _looked_into(self, text: str, named: "dict[str, str]", depth: int) -> str:
        if depth < MAX_DEPTH and text.lstrip()[:1] in ("{", "[", '"'):
            parsed = _parsed(text)
            if parsed is not None:
                try:
                    new = self._value("", parsed, named, depth + 1)
                except RecursionError:
                    return self._plain(text)
                return text if new is parsed else _dumped(new)
            text = _HEX_ESCAPE.sub(_unescaped, text)  # cut JSON: letters written as numbers
        return self._plain(text)

    def _may_hold(self, text: str) -> bool:
        if self._always or (self._patterns and any(one.search(text) for one in self._patterns.values())):
            return True
        at = self._beginnings.end_of(text)
        if may_hold(text[at:] if at else text, self._kinds):
            return True
        if self._names:
            lower = text.lower()
            if any(name in lower or name.replace("_", "") in lower for name in self._names):
                return True
        self._beginnings.keep(text)
        return False

    def _plain(self, text: str) -> str:
        """Return a text with what the finders found replaced; of two that overlap the first kind counts."""
        found = self._found(text)
        if not found:
            return text
        parts = []
        at = 0
        for start, end, kind in found:
            parts += [text[at:start], self.placeholder(kind, text[start:end])]
            at = end
        return "".join((*parts, text[at:]))

    def _found(self, text: str) -> "list[Found]":
        """Return what the finders found, in order, none over another, nothing that is a placeholder already."""
        taken: list[Found] = []
        kept = [(*match.span(), "") for match in PLACEHOLDER.finditer(text)] if "_" in text and "<" in text else []
        for finder in self._finders:
            new = [one for one in finder(text) if one[0] < one[1]]
            if new:
                taken = _merged(taken, new, kept)
        return taken

    def _name(self, name: str) -> str:
        """Return the name of a field without what it says of a person (`{"a@example.com": …}`)."""
        return self._plain(name) if "@" in name or (any(map(str.isdigit, name)) and self._may_hold(name)) else name

    def _is_secret(self, name: str) -> bool:
        if "SECRET" not in self._kinds or not name:
            return False
        known = self._known_names.get(name)
        if known is None:
            known = is_secret_name(name, self._names)
            if len(self._known_names) < _REMEMBERED and len(name) < 200:
                self._known_names[name] = known
        return known


def _by_pattern(kind: str, pattern: "re.Pattern[str]") -> Finder:
    return lambda text: [(*match.span(), kind) for match in pattern.finditer(text)]


def _merged(taken: "list[Found]", new: "list[Found]", kept: "list[Found]") -> "list[Found]":
    """Return both in order, without those of `new` that lie over one taken or kept before."""
    edges = sorted((*taken, *kept))
    result: list[Found] = []
    at = last = 0
    for start, end, kind in sorted(new):
        while at < len(edges) and edges[at][1] <= start:
            at += 1
        if start >= last and (at == len(edges) or edges[at][0] >= end):
            result.append((start, end, kind))
            last = end
    return sorted([*taken, *result])


def _parsed(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _dumped(value: Any) -> str:  # noqa: ANN401
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value)
    return text


def _unescaped(match: "re.Match[str]") -> str:
    character = chr(int(match.group(1), 16))
    return character if character not in '"\\' else match.group()


def _is_schema(value: Mapping[str, Any]) -> bool:
    """Tell whether this describes a field (JSON Schema) and is not the field."""
    kind = value.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return all(isinstance(one, str) and one.lower() in _SCHEMA_TYPES for one in kinds) or any(
        name in value for name in ("$ref", "anyOf", "oneOf", "allOf", "enum", "const")
    )


def _is_evidence(key: str, value: Any) -> bool:  # noqa: ANN401
    """Tell whether a value holds token ids or log-probabilities, and not the setting that asks for them."""
    if not _means(key)[0]:
        return False
    if isinstance(value, str):
        return value.lstrip()[:1] in ("[", "{") and not _CONTENT_ONLY.search(key)
    return isinstance(value, (Mapping, Sequence))


def _is_content(key: str, value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) and bool(value) and _means(key) == (False, True)


@functools.lru_cache(_REMEMBERED)
def _means(key: str) -> "tuple[bool, bool]":
    """Tell whether a field of this name may hold token ids and the like, and whether it may hold what was said."""
    return _EVIDENCE.search(key) is not None, _CONTENT.search(key) is not None


def _without_evidence(part: "dict[str, Any]") -> "dict[str, Any]":
    kept = {}
    for key, value in part.items():
        if _is_evidence(key, value):
            continue
        if isinstance(value, str) and _EVIDENCE.search(value) and value.lstrip()[:1] in ("{", "["):
            parsed = _parsed(value)
            try:
                if parsed is not None and (bare := _bare(parsed)) != parsed:
                    value = _dumped(bare)
            except RecursionError:
                continue
        elif isinstance(value, (Mapping, list)):
            value = _bare(value)
        kept[key] = value
    return kept


def _bare(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {key: None if _is_evidence(key, one) else _bare(one) for key, one in value.items()}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _replaced(value: Any, named: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return a value with secrets that were found by their names replaced in it, in whatever escaping."""
    if isinstance(value, str):
        for secret, placeholder in named.items():
            form = secret
            for _ in range(3):
                if form in value:
                    value = value.replace(form, placeholder)
                if (escaped := json.dumps(form, ensure_ascii=False)[1:-1]) == form:
                    break
                form = escaped
        return value
    if isinstance(value, Mapping):
        return {key: _replaced(one, named) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return type(value)([_replaced(one, named) for one in value])  # type: ignore[call-arg]
    return value


def _num_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    num = 0
    for old, new in zip(before.values(), after.values()):  # noqa: B905 - CPython 3.10 and older
        if new is not old and new != old:
            num += 1
    return num


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def redactor(environment: Mapping[str, str], prefix: str) -> "Redactor | None":
    """Return the redactor that variables ask for, None where they ask for none.

    `{prefix}REDACT` is `off` (default), `all`, or kinds with commas (`key,secret,card`), and among them `presidio` for
    names of people, or `presidio-patterns` for what it finds without a model; `{prefix}REDACT_NAMES` further names of
    secret fields, with commas; `{prefix}REDACT_PATTERN_TICKET` a regular expression of the kind TICKET;
    `{prefix}REDACT_KEY` the key of the placeholders. Raises ValueError for what makes no sense: better no spans than
    spans with secrets.
    """
    asked = [one.strip() for one in environment.get(f"{prefix}REDACT", "").split(",") if one.strip()]
    start = f"{prefix}REDACT_PATTERN_"
    patterns = {name[len(start) :]: value for name, value in environment.items() if name.startswith(start) and value}
    return build(
        asked, patterns=patterns, key=environment.get(f"{prefix}REDACT_KEY", ""),
        names=[one.strip() for one in environment.get(f"{prefix}REDACT_NAMES", "").split(",") if one.strip()],
    )  # fmt: skip


def build(asked: Iterable[str], *, patterns: Mapping[str, str], names: Iterable[str], key: str) -> "Redactor | None":
    """Return the redactor of settings that `redactor` describes; None where nothing is asked for."""
    words = [one.lower() for one in asked]
    names = list(names)
    if set(words) <= {"off"} and not patterns and not names:
        return None
    kinds = set(KINDS) if "all" in words else {one.upper() for one in words if one != "off" and one not in PRESIDIO}
    if names:
        kinds.add("SECRET")
    find: Finder | None = None
    if not PRESIDIO.isdisjoint(words):
        from otel_exporter.presidio import finder

        find = finder(names="presidio" in words)
    try:
        return Redactor(kinds, patterns=patterns, names=names, key=key, find=find)
    except re.error as error:
        raise ValueError(f"a pattern to redact is no regular expression: {error}") from None
