"""`spanloop reward`: say from a shell how well an episode went."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foundation.errors import Busy, SettingsError
from foundation.narration import get_logger
from foundation.settings import DEFAULT_DATA

log = get_logger("reward")


def reward(
    trace_id: Annotated[str, Parameter(name="trace-id")],
    value: float,
    *,
    name: str = "outcome",
    span_id: str | None = None,
    label: str | None = None,
    explanation: str | None = None,
    endpoint: str | None = None,
    data: Path = DEFAULT_DATA,
) -> None:
    """Give a trace, or one span of it, a reward; the running receiver stores it as an evaluation event.

    A receiver elsewhere that asks for keys gets the one in SPANLOOP_API_KEY, with scope `reward`; here none is needed.

    Example: spanloop reward 0af7651916cd43dd8448eb211c80319c 1.0 --name outcome

    Parameters
    ----------
    trace_id
        Trace to judge, 32 hex digits.
    value
        How well it went; larger is better.
    name
        What was judged.
    span_id
        Span to judge, 16 hex digits; without it the whole trace.
    label
        The judgement in a word.
    explanation
        Why.
    endpoint
        Address of a receiver elsewhere, for example https://receiver:4318.
    data
        Directory of the receiver on this machine, where no endpoint is given.
    """
    url, key = _receiver(data) if endpoint is None else (endpoint.rstrip("/"), os.environ.get("SPANLOOP_API_KEY"))
    body = {"trace_id": trace_id, "span_id": span_id, "name": name, "value": value, "label": label}
    request = urllib.request.Request(  # noqa: S310 - the receiver the user named
        f"{url}/v1/rewards",
        data=json.dumps({**body, "explanation": explanation}).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            response.read()
    except urllib.error.HTTPError as error:
        raise _refusal(error, url) from None
    except OSError as error:
        raise Busy(f"the receiver at {url} cannot be reached: {error}", hint="Is it running?") from error
    log.info("stored", trace_id=trace_id, name=name)


def _receiver(data: Path) -> tuple[str, str | None]:
    try:
        where = json.loads((data / "receiver.json").read_bytes())
    except (OSError, ValueError):
        raise Busy(
            f"no receiver runs on {data}",
            hint=f"Start one (spanloop receiver run --data {data}) or name it with --endpoint.",
        ) from None
    return where["http"], where["token"]


def _refusal(error: urllib.error.HTTPError, url: str) -> SettingsError | Busy:
    try:
        answer = json.loads(error.read())
        said = answer.get("error") or answer.get("message") or error.reason
    except ValueError:
        said = error.reason
    if error.code == 503:
        return Busy(f"the receiver at {url} asks to come again: {said}")
    hint = "Put a key with scope reward into SPANLOOP_API_KEY." if error.code in {401, 403} else None
    return SettingsError(f"the receiver refused the reward: {said}", hint=hint)
