"""What form a request wants its answer in, as a grammar: JSON of a schema, a pattern, one of some texts, tool calls.

Read as vLLM reads it: `response_format`, `structured_outputs` and the older `guided_*`, `tool_choice`, and tools marked
`strict`. JSON is written as Python and JavaScript write it, with at most one space after a comma or colon and none
elsewhere: a small model that may write white space may write nothing else for ever. `oneOf` counts as `anyOf`; keywords
the library cannot hold an answer to are refused, never passed over. Knows nothing of how a grammar is applied.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve.engines.embedded.chat import TOOL_CALL_END, TOOL_CALL_START
from serve.sampling import UnsupportedParameter

Json = dict[str, Any]

MAX_BYTES = 96 << 10
"""Most a grammar may be: its compilation takes a second a quarter of a megabyte, at worst."""

JSON_OPTIONS: Json = {
    "whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?", "coerce_one_of": True,
    "lenient": False,
}  # fmt: skip
GUIDED = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
"""What vLLM took before it had `structured_outputs`, and clients still send."""

PARAMETERS = frozenset({"response_format", "structured_outputs", "tool_choice", "parallel_tool_calls", *GUIDED})


@dataclass(frozen=True)
class Form:
    """A grammar an answer has to follow."""

    grammar: str
    """In llguidance's JSON."""

    param: str
    """The parameter that asked for it."""


@dataclass(frozen=True)
class _Choice:
    """Which tools may be called, and whether one has to be."""

    tools: tuple[Json, ...]
    is_forced: bool
    is_single: bool = False


def read_form(
    request: Mapping[str, Any], tools: Collection[Json] | None, special_tokens: Collection[str]
) -> Form | None:
    """Return the form a request asks for; null where the answer is free.

    Where tools are offered beside a form of the answer, the answer has that form or calls tools.
    """
    shape, shape_param = _read_shape(request)
    choice = _read_tool_choice(request, tuple(tools or ()))
    if choice is not None and not choice.is_forced and request.get("parallel_tool_calls") not in (None, True):
        raise UnsupportedParameter("parallel_tool_calls", "must be true, or tool_choice force a call")
    if choice is not None and choice.is_forced:
        start = "call" if choice.is_single else 'call ("\\n" call)*'
        return _tools_form(start, choice, special_tokens, "tool_choice")
    if choice is None:
        return None if shape is None else _form([shape], shape_param)
    if shape is not None:
        return _tools_form('@shape | call ("\\n" call)*', choice, special_tokens, shape_param, shape)
    is_strict = any(tool["function"].get("strict") is True for tool in choice.tools)
    if not is_strict and request.get("tool_choice") in (None, "auto"):
        return None
    # Text until a call begins; what a call begins with is found in the text as soon as it is there.
    return _tools_form("(TEXT? call)* TEXT?", choice, special_tokens, "tools" if is_strict else "tool_choice")


# --- the form of an answer


def _read_shape(request: Mapping[str, Any]) -> tuple[Json | None, str]:
    found = [(shape, name) for shape, name in _shapes(request) if shape is not None]
    if len(found) > 1:
        raise UnsupportedParameter(found[1][1], "asks for a second form of the answer")
    return found[0] if found else (None, "response_format")


def _shapes(request: Mapping[str, Any]) -> Iterator[tuple[Json | None, str]]:
    yield _response_format(request.get("response_format")), "response_format"
    outputs = request.get("structured_outputs")
    if outputs is not None:
        if not isinstance(outputs, dict):
            raise UnsupportedParameter("structured_outputs", "must be an object")
        for name, value in outputs.items():
            if value is not None and value is not False:
                yield _structured(name, value, "structured_outputs"), f"structured_outputs.{name}"
    for param, name in GUIDED.items():
        if request.get(param) is not None:
            yield _structured(name, request[param], param), param


def _response_format(asked: object) -> Json | None:
    if asked is None:
        return None
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return _json_grammar({"type": "object"})
    if kind != "json_schema" or not isinstance(asked, dict):
        raise UnsupportedParameter("response_format", "must be an object of the type text, json_object or json_schema")
    # The chat API has the schema in an object of its own, the Responses API beside its name.
    holder = asked["json_schema"] if isinstance(asked.get("json_schema"), dict) else asked
    return _structured("json", holder.get("schema"), "response_format")


def _structured(name: str, value: object, param: str) -> Json:
    match name:
        case "json":
            try:
                schema = json.loads(value) if isinstance(value, str) else value
            except ValueError:
                schema = None
            if not isinstance(schema, dict):
                raise UnsupportedParameter(param, "needs a JSON schema that is an object")
            return _json_grammar(schema)
        case "json_object":
            return _json_grammar({"type": "object"})
        case "regex" if isinstance(value, str):
            return {"lark_grammar": f"start: /{_slashed(value)}/"}
        case "choice" if isinstance(value, list) and value and all(isinstance(one, str) and one for one in value):
            return {"lark_grammar": "start: " + " | ".join(_literal(one) for one in value)}
        case "grammar" if isinstance(value, str):
            return {"lark_grammar": _as_lark(value, param)}
    raise UnsupportedParameter(param, f"has a {name} the embedded engine does not know")


def _json_grammar(schema: Json) -> Json:
    return {"json_schema": {**schema, "x-guidance": JSON_OPTIONS}}


def _slashed(pattern: str) -> str:
    from llguidance import regex_to_lark

    return regex_to_lark(pattern)


def _as_lark(grammar: str, param: str) -> str:
    from llguidance.gbnf_to_lark import any_to_lark

    if len(grammar) > MAX_BYTES:
        raise _too_large(param)
    try:
        return any_to_lark(grammar)
    except Exception as error:
        raise UnsupportedParameter(param, f"is no grammar: {error}") from error


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- tool calls


def _read_tool_choice(request: Mapping[str, Any], tools: tuple[Json, ...]) -> _Choice | None:
    """Return which tools may be called; null where none may, or none is offered."""
    asked = request.get("tool_choice")
    is_single = request.get("parallel_tool_calls") is False
    if asked == "none" or (asked in (None, "auto") and not tools):
        return None
    if asked in (None, "auto"):
        return _Choice(tools, is_forced=False)
    if asked == "required":
        if not tools:
            raise UnsupportedParameter("tool_choice", "is required, and no tools are offered")
        return _Choice(tools, is_forced=True, is_single=is_single)
    if isinstance(asked, dict) and asked.get("type") == "function":
        return _Choice(_named(tools, [asked]), is_forced=True, is_single=True)
    if isinstance(asked, dict) and asked.get("type") == "allowed_tools":
        allowed = asked["allowed_tools"] if isinstance(asked.get("allowed_tools"), dict) else asked
        if allowed.get("mode", "auto") in ("auto", "required"):
            named = _named(tools, allowed.get("tools"))
            return _Choice(named, is_forced=allowed.get("mode") == "required", is_single=is_single)
    raise UnsupportedParameter("tool_choice", "is none of auto, none, required or a function")


def _named(tools: tuple[Json, ...], asked: object) -> tuple[Json, ...]:
    by_name = {tool["function"]["name"]: tool for tool in tools}
    found = []
    for each in asked if isinstance(asked, list) else ():
        holder = each["function"] if isinstance(each.get("function"), dict) else each
        if not isinstance(name := holder.get("name"), str) or name not in by_name:
            raise UnsupportedParameter("tool_choice", "names a function that tools do not offer")
        found.append(by_name[name])
    if not found:
        raise UnsupportedParameter("tool_choice", "names no function")
    return tuple(found)


def _tools_form(
    start: str, choice: _Choice, special_tokens: Collection[str], param: str, shape: Json | None = None
) -> Form:
    """Return a form whose grammar begins with `start`, over calls in the Hermes format."""
    opening, closing = (tag if tag in special_tokens else _literal(tag) for tag in (TOOL_CALL_START, TOOL_CALL_END))
    named = [] if shape is None else [{"name": "shape", **shape}]
    bodies, is_text_free = [], "TEXT" in start
    for index, tool in enumerate(choice.tools):
        function = tool["function"]
        head = f'{{"name": {json.dumps(function["name"], ensure_ascii=False)}, "arguments": '
        bodies.append(f'{_literal(head)} @arguments_{index} "}}"')
        schema = function.get("parameters")
        if schema is not None and not isinstance(schema, dict):
            raise UnsupportedParameter(f"tools[{index}]", "has parameters that are no object")
        # A tool that is not marked strict is held to its schema where it was forced, as by vLLM, and else to JSON.
        is_held = choice.is_forced or shape is not None or function.get("strict") is True
        schema = schema if is_held and schema else {"type": "object"}
        named.append({"name": f"arguments_{index}", **_json_grammar(schema)})
    lines = ["%llguidance {}"]
    if is_text_free and opening.startswith('"'):
        # A lazy rule takes the text up to the first tag, and no more.
        lines += [f"start: {start.replace('TEXT? call', 'begun body')}", "begun[lazy]: ANY " + opening]
        lines += ["TEXT: /(.|\\n)+/", "ANY: /(.|\\n)*/"]
    else:
        lines += [f"start: {start}", f"call: {opening} body", "TEXT: /(.|\\n)+/"]
    lines += [f'body: "\\n" call_body "\\n" {closing}', f"call_body: {' | '.join(bodies)}"]
    return _form([{"lark_grammar": "\n".join(lines)}, *named], param)


def _form(grammars: list[Json], param: str) -> Form:
    grammar = json.dumps({"grammars": grammars})
    if len(grammar) > MAX_BYTES:
        raise _too_large(param)
    return Form(grammar, param)


def _too_large(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(param, f"asks for a form of more than {MAX_BYTES >> 10} KiB")
