"""Errors as OpenAI's clients know them: `type`, `code` and `param`, of which they tell what to do.

https://platform.openai.com/docs/guides/error-codes. Clients retry by status, and tell an overlong prompt, a wrong key
and an unknown model by `code`; an engine's own errors are written anew in that shape, with the engine's own words.
"""

import re
from typing import Any

import orjson

TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
"""By status; whatever is not here is `server_error` from 500 on, else `invalid_request_error`."""

CODES = {401: "invalid_api_key", 403: "insufficient_permissions", 413: "request_too_large"}

TOO_LONG = re.compile(r"maximum (context|model) length|max_model_len|longer than the maximum", re.IGNORECASE)
"""How engines say that a prompt does not fit; clients look for the code `context_length_exceeded`."""


def error_body(message: str, status: int, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error.

    >>> error_body("no such model", 404, code="model_not_found", param="model")
    ... # doctest: +NORMALIZE_WHITESPACE
    {'error': {'message': 'no such model', 'type': 'invalid_request_error', 'param': 'model',
               'code': 'model_not_found'}}
    """
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or CODES.get(status)}}


def rewritten(body: bytes, status: int) -> dict[str, Any]:
    """Return an engine's error in this shape; what it said in other shapes is kept as its message."""
    message, param, code = f"the engine answered {status}", None, None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    said = found.get("error", found) if isinstance(found, dict) else None
    if isinstance(said, dict):
        detail = said.get("message") or said.get("detail")
        message = detail if isinstance(detail, str) else message
        param = said["param"] if isinstance(said.get("param"), str) else None
        code = said["code"] if isinstance(said.get("code"), str) else None
    elif isinstance(said, str):
        message = said
    if code is None and status == 400 and TOO_LONG.search(message):
        code, param = "context_length_exceeded", param or "messages"
    return error_body(message, status, code=code, param=param)
