"""Looks through everything that one span holds and sorts it by shape and name: asked, answered, offered, counted.

Attributes, numbered attributes, events and log records are one tree here, JSON inside texts included, so that a fact is
found under whatever prefix, in whichever of these it stands. What looks like content and is not understood is kept by
its place.
"""

from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any

from etl.dialects.shapes import langchain, message_events
from etl.dialects.shapes.exchanges import Request, Response, read_usage
from etl.dialects.shapes.json_values import decode, loads
from etl.dialects.shapes.messages.canonical import canonical_input
from etl.dialects.shapes.messages.names import first
from etl.dialects.shapes.requests import Requests
from etl.dialects.spans import LlmCall, LogRecord, Message, Span
from etl.dialects.structure import decoders as shapes
from etl.dialects.structure import recognition, streams
from etl.dialects.structure.limits import breaks_off
from etl.dialects.structure.names import (
    Kind,
    Words,
    field_of,
    kind_of,
    names_content,
    names_kind,
    side_of,
    words_of,
)
from etl.dialects.structure.numbered import NUMBERED, grouped, nested

DEEPEST = 6
"""Levels of objects within objects that are looked through for what is no model's traffic itself."""

OPENINGS = ("{", "[", '"')

EVENT_ROLES = {"system", "developer", "user", "assistant", "tool", "choice"}
"""Words in the names of events that carry a message each."""

SPOKEN = {"content", "message", "tool_calls", "parts"}
"""Keys of an event's body that carries a message."""

CONSUMED = frozenset(
    (
        "messages",
        "contents",
        "input",
        "prompt",
        "system",
        "instructions",
        "choices",
        "candidates",
        "message",
        "content",
        "generations",
        "parts",
    )
)
"""Keys of a request or response whose values its reader has read."""

NAMES = {"model_requested", "model_returned", "provider", "agent", "tool_name"}
"""Facts that are names: a flag that ends like one is none."""

OBJECTS = {"chat.completion", "chat.completion.chunk", "text_completion", "response", "message", "completion", "list"}
"""What APIs call their answers in a field `object`, which is no text of theirs."""

WHOLE = {"system", "tool_arguments", "tool_result"}
"""Facts that may be any value, which is kept as it is."""


def _read_items(items: list[Any], before: list[Message]) -> list[Message] | None:
    items = shapes.plain(items)
    if not recognition.is_messages(items) or any(langchain.is_langchain(item) for item in items):
        return None
    return canonical_input((shapes.as_item(item) for item in items), before)


REQUESTS = Requests(_read_items)
"""What is remembered of the lists of messages read last."""


@dataclass(slots=True)
class Survey:
    """What a span holds, by what it is; each with the place it was found at."""

    requests: list[tuple[str, Request]] = field(default_factory=list)
    responses: list[tuple[str, Response]] = field(default_factory=list)
    tools: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)
    """Tool calls that stand apart from the answer they are of."""

    texts: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: {"input": [], "output": []})
    values: dict[str, list[tuple[str, Any]]] = field(default_factory=lambda: {"input": [], "output": []})
    """By side, what stands on it, whatever it is."""

    facts: dict[str, tuple[str, Any]] = field(default_factory=dict)
    kinds: list[tuple[str, Kind]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """Places of answers that are whole runs: with tools' results, or with the user's words."""

    unread: list[str] = field(default_factory=list)
    """Places of what looks like traffic and was not understood."""

    has_cut: bool = False
    """JSON breaks off somewhere."""

    has_gaps: bool = False
    """Numbered messages are missing from the middle or the beginning."""

    @property
    def kind(self) -> Kind | None:
        """Return what the span says that it is: the most telling of what its attributes say."""
        named = [kind for _, kind in self.kinds]
        order = (Kind.EMBEDDING, Kind.EVALUATION, Kind.CALL, Kind.TOOL, Kind.AGENT, Kind.OTHER)
        return next((kind for kind in order if kind in named), None)

    def fact(self, name: str) -> Any:  # noqa: ANN401 - any attribute value
        """Return the value of a fact, None where there is none."""
        return self.facts[name][1] if name in self.facts else None

    def size(self) -> int:
        """Return how many things were found that are traffic."""
        lists: tuple[Sized, ...] = (self.requests, self.responses, self.tools, self.calls, self.runs, self.unread)
        return sum(len(listed) for listed in (*lists, *self.texts.values()))

    def has_exchange(self) -> bool:
        """Tell whether there is a request with messages or an answer in a shape of its own."""
        return any(request.input for _, request in self.requests) or any(r.output for _, r in self.responses)


def survey(span: Span) -> Survey:
    """Look through a span."""
    found = Survey()
    walk = _Walk(found)
    plain, groups = grouped(span.attributes)
    for name, value in plain.items():
        walk.visit(value, words_of(name), name, 0)
    for head, fields in groups.items():
        items, is_gapped = nested(fields)
        found.has_gaps |= is_gapped
        walk.visit(items, words_of(head), f"{head}.N", 0)
    _add_events(span, walk)
    walk.end()
    return found


def _decoded(value: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what JSON text holds, also where the text is a text's JSON."""
    inner = decode(value)
    if isinstance(inner, str) and inner.startswith('"'):
        try:
            inner = loads(inner)
        except ValueError:
            return value
    return inner


def _add_events(span: Span, walk: "_Walk") -> None:
    records = [
        LogRecord(str(event.get("name")), 0, event.get("attributes") or {}, {})
        for event in span.events
        if event.get("name") != "exception"
    ]
    spoken = [_as_message_event(record, decode(record.body)) for record in span.logs]
    spoken += [_as_message_event(record, message_events.body_of(record.body)) for record in records]
    if any(spoken):
        call = LlmCall(span, "")
        message_events.read_messages(call, [record for record in spoken if record is not None], [])
        if call.input:
            walk.found.requests.append(("events", Request(input=call.input)))
        if call.output:
            walk.found.responses.append(("events", Response(output=call.output)))
    sides: dict[str, list[Any]] = {"input": [], "output": []}
    for record, read in zip([*span.logs, *records], spoken, strict=True):
        side = side_of(words_of(record.event_name)) or "input"
        message = next((one for one in (decode(record.body), record.attributes) if recognition.is_message(one)), None)
        if read is None and message is not None:
            sides[side].append(
                {name: decode(value) if name not in recognition.SAID else value for name, value in message.items()}
            )
        elif read is None:
            for values in (decode(record.body), record.attributes):
                for name, value in values.items() if isinstance(values, dict) else ():
                    walk.visit(value, words_of(record.event_name) + words_of(name), f"{record.event_name}/{name}", 0)
    for side, listed in sides.items():  # events that are a message each, under whatever name
        if listed:
            walk.visit(shapes.plain(listed), (side,), f"events.{side}", 0)


def _as_message_event(record: LogRecord, body: Any) -> LogRecord | None:  # noqa: ANN401 - any JSON value
    """Return the event under the conventions' name, where it carries a message; None where it does not."""
    words = words_of(record.event_name)
    if isinstance(body, dict) and SPOKEN.isdisjoint(body):
        body = message_events.body_of(body)
    if not isinstance(body, dict) or SPOKEN.isdisjoint(body):
        return None
    role = next((word for word in words if word in EVENT_ROLES), None)
    if role is None or not {"message", "choice", "event", "content"} & set(words):
        return None
    name = "gen_ai.choice" if role == "choice" else f"gen_ai.{role}.message"
    return LogRecord(name, record.time_ns, body, record.attributes)


NAME_WORDS = 2
"""Words that the name of who serves a model may have."""


def _fact_of(words: Words, value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the fact that a name stands for; a schema has fields of such names, too.

    A `system` of a word or two (`openai`, `Azure OpenAI`) is whose model it is: instructions are a sentence.
    """
    name = field_of(words)
    if name != "system":
        return name
    is_said = isinstance(value, str) and bool(value)
    if is_said and words[-1:] == ("system",):
        said = value.split()
        is_said = len(said) > NAME_WORDS or (len(said) > 1 and said[-1][-1] in ".!:")
    return name if is_said or (isinstance(value, list) and value) else None


class _Walk:
    """Visits values and puts what they are into a survey."""

    def __init__(self, found: Survey) -> None:
        self.found = found
        self.pieces: list[dict[str, Any]] = []
        """Pieces of a streamed answer that stand in values of their own."""

    def end(self) -> None:
        """Put together what stood in pieces."""
        if self.pieces:
            self._add_pieces(self.pieces, "pieces")

    def visit(self, value: Any, words: Words, place: str, depth: int) -> None:  # noqa: ANN401 - any JSON value
        """Take in a value, whose name has these words."""
        if depth == 0 and (side := side_of(words)) is not None and names_content(words):
            self.found.values[side].append((place, value))
        if isinstance(value, dict) and field_of(words) == "system":  # Gemini's object of parts is no answer
            value = first(value, "parts", "content", "text")
        own = _fact_of(words, value)
        if own in WHOLE and value is not None:
            self.found.facts.setdefault(own, (place, value))
            if own == "system":
                return
        if isinstance(value, str):
            if value[:2] == "[{" and (messages := REQUESTS.read(value)) is not None and side_of(words) != "output":
                self.found.requests.append((place, Request(input=messages)))
                return
            inner = _decoded(value) if value.lstrip().startswith(OPENINGS) else value
            if isinstance(inner, str) and (listed := streams.events_of(inner)) is not None:
                inner = listed if len(listed) > 1 else listed[0]
            if isinstance(inner, str) and breaks_off(inner):
                self.found.has_cut = True
                self.found.unread.append(place)
                return
            if not isinstance(inner, str):
                self._visit_json(value, inner, words, place, depth)
                return
        elif isinstance(value, dict | list) and depth == 0:
            value = shapes.plain(value)
        if isinstance(value, dict):
            self._visit_object(value, words, place, depth)
        elif isinstance(value, list):
            self._visit_list(value, words, place, depth)
        elif value is not None:
            self._visit_scalar(value, words, place)

    def _visit_json(self, text: str, inner: Any, words: Words, place: str, depth: int) -> None:  # noqa: ANN401
        """Take in what JSON text holds; on the answer's side, data of nobody's shape is the text that was answered."""
        before, said = self.found.size(), len(self.found.texts["output"])
        value = shapes.plain(inner)
        visit: Any = self._visit_object if isinstance(value, dict) else self._visit_list
        visit(value, words, place, depth)
        is_content = side_of(words) == "output" and names_content(words)
        if not is_content or depth > 0:
            return
        added, told = self.found.size() - before, len(self.found.texts["output"]) - said
        is_text = recognition.is_data(inner) if added == 0 else added == told and not recognition.is_box(inner)
        if is_text:  # beside what was found in it, where it may be either: then nobody knows
            text = loads(text) if text.lstrip().startswith('"') else text
            self.found.texts["output"].append((place, text))

    def _visit_object(self, value: dict[str, Any], words: Words, place: str, depth: int) -> None:
        if streams.is_piece(value) or (self.pieces and streams.are_pieces([*self.pieces, value])):
            self.pieces.append(value)
            return
        side = side_of(words)
        if side == "output" and recognition.is_messages(
            value.get("messages")
        ):  # a run's state, or the answer in a list
            self._add_answers(value["messages"], place)
            value = {key: item for key, item in value.items() if key != "messages"}
        if any("." in key and NUMBERED.search(key) for key in value):  # a whole span's attributes as one value
            value, groups = grouped(value)
            for head, fields in groups.items():
                self.visit(nested(fields)[0], words + words_of(head), f"{place}.{head}.N", depth + 1)
        readers = (
            (self._add_response, self._add_request) if side == "output" else (self._add_request, self._add_response)
        )
        read_by = next((reader for reader in readers if reader(value, place)), None)
        is_read, is_answer = read_by is not None, read_by == self._add_response
        if not is_read and (recognition.is_message(value) or (side == "output" and recognition.is_messages([value]))):
            self._visit_list([value], words, place, depth)
            return
        usage = read_usage(value)
        if usage is not None and not is_read:
            self.found.responses.append((place, Response(usage=usage)))
        if depth >= DEEPEST:
            return
        for key, item in value.items():
            if is_read and key in CONSUMED:
                continue
            if is_answer and not isinstance(item, dict | list):
                continue  # its reader took what it says; what it repeats of the request need not have been asked for
            if isinstance(item, dict | list) or not is_read or field_of(words_of(key)) is not None:
                self.visit(item, words + words_of(key), f"{place}.{key}", depth + 1)

    def _add_request(self, value: dict[str, Any], place: str) -> bool:
        request = shapes.read_request(value)
        if request is None or not request.input:
            return False
        self.found.requests.append((place, request))
        return True

    def _add_pieces(self, pieces: list[dict[str, Any]], place: str) -> None:
        """Take in the answer that pieces of a stream are of."""
        response = shapes.read_response(shapes.plain(streams.put_together(pieces)))
        if response is None:
            self.found.unread.append(place)
        else:
            response.streamed = True
            self.found.responses.append((place, response))

    def _add_response(self, value: dict[str, Any], place: str) -> bool:
        response = shapes.read_response(value)
        if response is None:
            return False
        self.found.responses.append((place, response))
        return True

    def _visit_list(self, value: list[Any], words: Words, place: str, depth: int) -> None:
        side = side_of(words)
        if not value:
            return
        if streams.are_pieces(value):
            self._add_pieces(value, place)
        elif all(isinstance(item, str) and item.startswith("{") for item in value) and recognition.is_messages(
            inner := [shapes.plain(_decoded(item)) for item in value]
        ):
            self._visit_list(inner, words, place, depth)
        elif len(value) == 1 and isinstance(value[0], str | list):
            self.visit(value[0], words, place, depth + 1)
        elif (
            all(isinstance(item, dict) and isinstance(item.get("message"), dict) for item in value) and side != "input"
        ):
            self._add_answers(value, place)
        elif recognition.is_messages(value):
            if side == "output":
                self._add_answers(value, place)
            else:
                self.found.requests.append((place, Request(input=shapes.read_messages(value))))
        elif (tools := shapes.read_tools(value)) is not None:
            self.found.tools.append((place, tools))
        elif recognition.is_blocks(value):
            if all(recognition.is_tool_call(item) for item in value):
                self.found.calls.append((place, value))
            elif side == "output":
                self._add_answers([{"role": "assistant", "content": value}], place)
        elif len(value) == 1 or all(isinstance(item, str) for item in value):
            if len(value) == 1:
                self.visit(value[0], words, place, depth + 1)
            elif (field_name := field_of(words)) is not None:
                self.found.facts.setdefault(field_name, (place, value))
        elif (
            side is not None
            and names_content(words)
            and any(isinstance(item, dict) and "role" in item for item in value)
        ):
            self.found.unread.append(place)

    def _add_answers(self, items: list[Any], place: str) -> None:
        answers = shapes.read_answers(items)
        if answers is None:
            self.found.runs.append(place)
        elif answers:
            self.found.responses.append((place, Response(output=answers)))

    def _visit_scalar(self, value: Any, words: Words, place: str) -> None:  # noqa: ANN401
        if isinstance(value, str) and not value.strip():
            if not value and (side := side_of(words)) is not None and names_content(words):
                self.found.texts[side].append((place, value))
            return
        name = _fact_of(words, value)
        if name is not None:
            if isinstance(value, str) or name not in NAMES:
                self.found.facts.setdefault(name, (place, value))
            return
        if not isinstance(value, str):
            return
        if names_kind(words):
            kind = kind_of(value)
            if kind is not None:
                self.found.kinds.append((place, kind))
            return
        side = side_of(words)
        if side is not None and names_content(words) and not (words[-1] == "object" and value in OBJECTS):
            self.found.texts[side].append((place, value))
