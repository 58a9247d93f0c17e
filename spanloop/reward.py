"""`spanloop reward`: say from a shell how well an episode went."""

import http.client
import json
import math
import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from foundation.errors import Busy, SettingsError
from foundation.narration import get_logger
from foundation.settings import DEFAULT_DATA
from foundation.web.http import open_url
from receiver.schema import find_all

log = get_logger("reward")

PATIENCE_S = 15.0
"""How long a receiver may take to store it: one that is stopped or hangs is told of after that."""


def reward(
    trace_id: Annotated[str | None, Parameter(name="trace-id")] = None,
    value: float | None = None,
    *,
    name: str = "outcome",
    span_id: str | None = None,
    response_id: str | None = None,
    episode_id: str | None = None,
    session_id: str | None = None,
    label: str | None = None,
    explanation: str | None = None,
    endpoint: str | None = None,
    data: Path = DEFAULT_DATA,
) -> None:
    """Give a trace, a span, an answer, an episode or a session a reward; the running receiver stores it.

    A receiver elsewhere that asks for keys gets the one in SPANLOOP_API_KEY, with scope `reward`; here none is needed.
    Of several receivers (--receiver) any may have it, whichever has the trace: it goes to the first that takes it.

    Example: spanloop reward 0af7651916cd43dd8448eb211c80319c 1.0 --name outcome

    Example: spanloop reward 1.0 --response-id chatcmpl-42

    Parameters
    ----------
    trace_id
        Trace to judge, 32 hex digits; left out where another id says what is judged.
    value
        How well it went; larger is better.
    name
        What was judged.
    span_id
        Span to judge, 16 hex digits; without it the whole trace.
    response_id
        Answer to judge, by the id its model server gave it.
    episode_id
        Episode to judge.
    session_id
        Conversation or session to judge: each of its episodes that gets no reward of its own.
    label
        The judgement in a word.
    explanation
        Why.
    endpoint
        Address of a receiver elsewhere, for example https://receiver:4318.
    data
        Directory of the receiver on this machine, where no endpoint is given.
    """
    ids = {"response_id": response_id, "episode_id": episode_id, "session_id": session_id}
    if value is None and trace_id is not None and any(ids.values()):
        value, trace_id = _number(trace_id), None
    if value is None:
        raise SettingsError(
            "no value", hint="spanloop reward TRACE_ID VALUE, or spanloop reward VALUE --response-id ID."
        )
    _check(trace_id, span_id, value, name)
    receivers = _receivers(data) if endpoint is None else [(_address(endpoint), os.environ.get("SPANLOOP_API_KEY"))]
    body = {"trace_id": trace_id, "span_id": span_id, **ids, "name": name, "value": value, "label": label}
    _give(json.dumps({**body, "explanation": explanation}).encode(), receivers)
    named = {key: item for key, item in {"trace_id": trace_id, **ids}.items() if item is not None}
    log.info("stored", **named, name=name)


def _give(body: bytes, receivers: list[tuple[str, str | None]]) -> None:
    """Have the first receiver store it that takes it; one that may have, and does not say so, ends the search."""
    for left, (url, key) in zip(reversed(range(len(receivers))), receivers, strict=True):
        request = urllib.request.Request(  # noqa: S310 - the receiver the user named
            f"{url}/v1/rewards",
            data=body,
            headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
        )
        try:
            with open_url(request, timeout_s=PATIENCE_S) as response:
                response.read()
        except urllib.error.HTTPError as error:
            refused = _refusal(error, url)
            if not left or not isinstance(refused, Busy):
                raise refused from None
        except (OSError, http.client.HTTPException) as error:
            if not left or not isinstance(getattr(error, "reason", None), ConnectionRefusedError | socket.gaierror):
                raise Busy(f"the receiver at {url} cannot be reached: {error}", hint="Is it running?") from error
        else:
            return
        log.warning("another receiver is asked", instead_of=url)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no number", hint="spanloop reward VALUE --response-id ID.") from None


def _check(trace_id: str | None, span_id: str | None, value: float, name: str) -> None:
    """Refuse here what the receiver would, so that it needs none to say so."""
    for flag, text, digits in (("trace_id", trace_id, 32), ("--span-id", span_id, 16)):
        if text is not None and (not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text) or set(text) == {"0"}):
            raise SettingsError(
                f"{flag} {text[:80]!r} is not {digits} hex digits", hint="`spanloop sql` finds the ids."
            )
    if not math.isfinite(value):
        raise SettingsError(f"value {value} is not a finite number")
    if not name.strip():
        raise SettingsError("--name is empty")


def _address(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(sign.isspace() or not sign.isprintable() for sign in endpoint):
        raise SettingsError(f"--endpoint {endpoint[:200]!r} is no address", hint="For example https://receiver:4318")
    return endpoint.rstrip("/")


def _receivers(data: Path) -> list[tuple[str, str | None]]:
    found = find_all(data)
    if not found:
        raise Busy(
            f"no receiver runs on {data}",
            hint=f"Start one (spanloop receiver run --data {data}) or name it with --endpoint.",
        )
    return [(where["http"], where["token"]) for where in found]


def _refusal(error: urllib.error.HTTPError, url: str) -> SettingsError | Busy:
    try:
        answer = json.loads(error.read())
        said = answer.get("error") or answer.get("message") or error.reason
    except (ValueError, AttributeError, OSError):
        said = error.reason
    if error.code == 503:
        return Busy(f"the receiver at {url} asks to come again: {said}")
    hint = "Put a key with scope reward into SPANLOOP_API_KEY." if error.code in {401, 403} else None
    return SettingsError(f"the receiver refused the reward: {said}", hint=hint)
