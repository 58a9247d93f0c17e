"""Gives errors their own words, and the status and code that only a stack trace has."""

import re
from collections.abc import Iterable

from etl.dialects.shapes.values import error_of
from etl.dialects.spans import LlmCall

RAISED = re.compile(r"""^[A-Za-z_][\w.]*\((['"])(.*)\1,?\)$""", re.DOTALL)
"""An exception as Python's repr writes it."""

TRACEBACK = "Traceback (most recent call last):"

CLIENT_SAID = re.compile(r"^[\w.]+: (Error code: \d{3} - .*)$", re.MULTILINE)
"""How OpenAI's and Anthropic's clients end a traceback."""

NAMED = re.compile(r"^[\w.]*(?:Error|Exception): (.+)$", re.DOTALL)
"""An exception as a traceback's last line writes it."""

LAST = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?\Z", re.DOTALL | re.MULTILINE)
"""How a traceback ends: below its indented frames, the exception and what it says."""


def error_text(text: str) -> str:
    """Return an error's own words, without the name of its class; of a traceback alone, those that it ends in.

    >>> error_text("OrderServiceError('no stock')"), error_text("app.OrderServiceError: no stock")
    ('no stock', 'no stock')
    """
    text, _, trace = text.partition(TRACEBACK)
    text = text.rstrip()
    if not text and (last := LAST.search(trace.rpartition(TRACEBACK)[-1].rstrip())) is not None:
        return last.group(2) or last.group(1)
    match = RAISED.match(text)
    if match:
        return match.group(2)
    match = NAMED.match(text)
    return match.group(1) if match else text


def complete_errors(calls: Iterable[LlmCall]) -> None:
    """Give errors the status and code that only their stack trace has, in place: frameworks put words of their own."""
    for call in calls:
        if call.error is None or None not in (call.error["http_status"], call.error["code"]):
            continue
        traces = [(event.get("attributes") or {}).get("exception.stacktrace") for event in call.span.events]
        for trace in [*traces, call.span.attributes.get("error.stack_trace")]:
            said = CLIENT_SAID.findall(trace) if isinstance(trace, str) else []
            told = error_of(said[-1]) if said else {}
            if told and told["message"] and told["message"] in (call.error["message"] or ""):
                call.error["message"] = told["message"]
            for name in ("http_status", "code"):
                call.error[name] = told.get(name) if call.error[name] is None else call.error[name]
