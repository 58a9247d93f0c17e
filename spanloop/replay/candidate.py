"""What is asked: an endpoint that runs already, or a model directory that is served while a block lasts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.models import find_model
from foundation.narration import get_logger
from spanloop.processes import GATEWAY_WITHIN_S, free_port, running_server, spanloop_command
from spanloop.replay.asking import Endpoint, is_url
from spanloop.replay.asking import find_model as find_served

log = get_logger("replay")

NOWHERE = "http://127.0.0.1:9"
"""Where spans of a candidate that is being tried go: nobody listens there (RFC 863)."""


@contextmanager
def opened(
    named: str,
    *,
    model: str | None = None,
    key: str | None = None,
    engine: str = "auto",
    replay: str = "",
    max_tokens: int | None = None,
) -> Iterator[Endpoint]:
    """Yield the endpoint of a candidate named by a base URL or by a directory.

    A directory is served as it would be in earnest, template and tool parser with it, from a place of its own: nothing
    that is live is touched. Its answers end at `max_tokens` where a question says no other limit: a model that was
    taught little may not know how to end. What an endpoint of somebody else's takes is its own business.
    """
    if is_url(named):
        url = named.rstrip("/")
        yield Endpoint(url, model or find_served(url, key=key), key, replay)
        return
    directory = find_model(Path(named))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="spanloop-replay-") as place:
        served = spanloop_command(
            *("serve", "run", "--data", place, "--model", str(directory.resolve()), "--name", "candidate"),
            *("--engine", engine, "--listen", f"127.0.0.1:{port}", "--otlp-endpoint", NOWHERE, "--spool-mb", "0"),
        )
        log.info("serving the candidate", model=directory.name)
        with running_server(
            "the candidate",
            served,
            ready_url=f"http://127.0.0.1:{port}/readyz",
            log=Path(place) / "serve.log",
            timeout_s=GATEWAY_WITHIN_S,
        ):
            yield Endpoint(f"http://127.0.0.1:{port}/v1", "candidate", None, replay, max_tokens=max_tokens)
