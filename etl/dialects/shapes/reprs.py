"""Reads Python's repr of a client's object, where an instrumentation wrote that in place of JSON."""

import ast
import re
from typing import Any

CONSTRUCTED = re.compile(r"[A-Z]\w*\(")

PRINTED = re.compile(r"(?:role|content)='")
TOKEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[()\[\]{} ]""")
"""A quoted text, a bracket, or a space outside of texts."""


def read_repr(text: Any) -> Any:  # noqa: ANN401 - any attribute value in, any JSON value out
    """Return the fields of an object, and of those within it, from its repr; None where it is no such text.

    >>> read_repr("Answer(id='a', choices=[Choice(index=0, text=None)])")
    {'id': 'a', 'choices': [{'index': 0, 'text': None}]}
    """
    if not isinstance(text, str) or not CONSTRUCTED.match(text):
        return None
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def read_fields(text: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Return the fields of a message as Pydantic prints one, without its class; None where it is no such text.

    >>> read_fields("role='assistant' content=None tool_calls=[ToolCall(id='a b')] prefix=False")
    {'role': 'assistant', 'content': None, 'tool_calls': [{'id': 'a b'}], 'prefix': False}
    """
    if not isinstance(text, str) or not PRINTED.match(text):
        return None
    pieces, depth, start = [], 0, 0
    for token in TOKEN.finditer(text):
        match token.group():
            case "(" | "[" | "{":
                depth += 1
            case ")" | "]" | "}":
                depth -= 1
            case " " if depth == 0:
                pieces.append(text[start : token.start()])
                start = token.end()
    fields = read_repr(f"Fields({', '.join([*pieces, text[start:]])})")
    return fields if isinstance(fields, dict) else None


def _value(node: ast.expr) -> Any:  # noqa: ANN401
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Call(keywords=keywords):
            return {entry.arg: _value(entry.value) for entry in keywords if entry.arg is not None}
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {key.value: _value(value) for key, value in pairs if isinstance(key, ast.Constant)}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
    return None
