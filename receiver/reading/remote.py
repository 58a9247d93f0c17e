"""Asks the running receiver, with the token that only its user can read."""

import contextlib
import http.client
import json
import urllib.error
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa

from foundation.errors import Busy, SettingsError, SpanloopError
from foundation.http import post_patiently
from receiver.tables import read_all

JSON = "application/json"


class ReceiverReader:
    """Reads through the running receiver."""

    def __init__(self, where: dict[str, Any]) -> None:
        self._where = where

    def query(self, sql: str, parameters: list[Any] | None = None) -> pa.Table:
        """Run one SELECT and return its rows."""
        return read_all(self.stream(sql, parameters))

    def stream(self, sql: str, parameters: list[Any] | None = None) -> pa.RecordBatchReader:
        """Run one SELECT and return its rows as they come."""
        try:
            body = json.dumps({"sql": sql, "parameters": parameters or []}, default=str).encode()
            response = ask(self._where, "/v1/sql", body)
            # Plain blocking HTTP: Arrow reads its stream from a file, which an http.client response is.
            return pa.ipc.open_stream(cast("Any", response))
        except (pa.ArrowException, OSError, http.client.HTTPException) as error:
            raise stopped_answering(self._where, error) from error

    def close(self) -> None:
        """There is no connection to let go of: each query has its own."""


def ask(where: dict[str, Any], path: str, body: bytes) -> http.client.HTTPResponse:
    """Post to the receiver and return its answer, which may take long; raises what a user can act on."""
    headers = {"Content-Type": JSON, "Authorization": f"Bearer {where['token']}"}
    try:
        return post_patiently(where["http"] + path, body, headers, alive_url=f"{where['http']}/healthz")
    except urllib.error.HTTPError as error:
        raise _refusal(error) from None
    except (OSError, http.client.HTTPException) as error:
        raise stopped_answering(where, error) from error


def stopped_answering(where: dict[str, Any], error: Exception) -> Busy:
    """Say that the receiver went silent."""
    return Busy(f"the receiver at {where['http']} (pid {where['pid']}) stopped answering: {error}", hint="Try again.")


@contextlib.contextmanager
def answering(where: dict[str, Any]) -> Iterator[None]:
    """Name the receiver when it goes silent while the block reads from it."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise stopped_answering(where, error) from error


def _refusal(error: urllib.error.HTTPError) -> SpanloopError:
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        answer = json.loads(error.read())
        kind = Busy if error.code == 503 else SettingsError
        return kind(answer["error"], hint=answer.get("hint"))
    return SpanloopError(f"the receiver answered {error.code} {error.reason}")
