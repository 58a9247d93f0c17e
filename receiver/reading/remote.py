"""Asks the running receiver: this machine's with the token that only its user can read, another's with a key."""

import contextlib
import http.client
import json
import time
import urllib.error
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa

from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.web.http import post_patiently
from receiver.reading.find import describe
from receiver.tables import HalfRead, read_all

JSON = "application/json"

PATIENCE_S = 120.0
"""How long a receiver on another machine is asked again: longer than it takes to restart, or to come back to a net."""

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0


class ReceiverReader:
    """Reads through the running receiver."""

    def __init__(self, where: dict[str, Any]) -> None:
        self._where = where

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT and return its rows.

        Of a receiver on another machine they are asked for again when the way there broke, from the first on: whoever
        reads much reads it in parts.
        """
        deadline, wait_s = time.monotonic() + PATIENCE_S, FIRST_WAIT_S
        while True:
            try:
                return read_all(self.stream(sql, parameters))
            except SpanloopError as error:
                is_passing = isinstance(error, Busy | HalfRead)
                if not (is_passing and self._where.get("is_remote")) or time.monotonic() + wait_s > deadline:
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def stream(self, sql: str, parameters: list[Any] | None = None) -> pa.RecordBatchReader:
        """Run one SELECT and return its rows as they come."""
        try:
            asked = {"sql": sql, "parameters": parameters or []} | (
                {"unbounded": True} if self._where.get("is_remote") else {}
            )
            body = json.dumps(asked, default=str).encode()
            response = ask(self._where, "/v1/sql", body)
            # Plain blocking HTTP: Arrow reads its stream from a file, which an http.client response is.
            return pa.ipc.open_stream(cast("Any", response))
        except (pa.ArrowException, OSError, http.client.HTTPException) as error:
            raise stopped_answering(self._where, error) from error

    def close(self) -> None:
        """There is no connection to let go of: each query has its own."""


def ask(where: dict[str, Any], path: str, body: bytes) -> http.client.HTTPResponse:
    """Post to the receiver and return its answer, which may take long; raises what a user can act on."""
    headers = {"Content-Type": JSON}
    if where["token"]:
        headers["Authorization"] = f"Bearer {where['token']}"
    try:
        return post_patiently(where["http"] + path, body, headers, alive_url=f"{where['http']}/healthz")
    except urllib.error.HTTPError as error:
        raise _refusal(error) from None
    except (OSError, http.client.HTTPException) as error:
        raise stopped_answering(where, error) from error


def stopped_answering(where: dict[str, Any], error: Exception) -> Busy:
    """Say that the receiver went silent."""
    return Busy(f"the receiver at {describe(where)} stopped answering: {error}", hint="Try again.")


@contextlib.contextmanager
def answering(where: dict[str, Any]) -> Iterator[None]:
    """Name the receiver when it goes silent while the block reads from it."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise stopped_answering(where, error) from error


def _refusal(error: urllib.error.HTTPError) -> SpanloopError:
    if error.code in {401, 403}:
        return SettingsError(
            f"the receiver does not let this key read: {error.code} {error.reason}",
            hint="Name a file with a key of scope admin: --key-file, or SPANLOOP_KEY_FILE.",
        )
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        answer = json.loads(error.read())
        kind = Busy if error.code == 503 else SettingsError
        return kind(answer["error"], hint=answer.get("hint"))
    return SpanloopError(f"the receiver answered {error.code} {error.reason}")
