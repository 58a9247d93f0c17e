"""What a page asks by SQL and what it is told: through the receiver where one runs, else from the files.

Either way the statement is bounded in time, rows and bytes, runs in a process that is ended when it goes over, and sees
the rows of the asker's project alone. The asker's own key is what the receiver is shown, so that a key that was revoked
is told no more.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import aiohttp
import orjson

from foundation.errors import Busy, SettingsError, SpanloopError
from receiver.schema import find, query_files

Row = dict[str, Any]
Form = Literal["json", "csv", "parquet"]

MAX_BYTES = 24 << 20
"""Most bytes of an answer that are held; what is taken away as a file may be longer."""

AT_ONCE = 3
"""Questions of all visitors that run at the same time: the receiver's turns are not for the page alone."""

TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=5, sock_read=60)


class Asker(Protocol):
    """Whoever a question is asked for."""

    @property
    def project(self) -> str | None:
        """The project whose rows are seen; None for all."""
        ...

    @property
    def key(self) -> str:
        """Text of the key it came with; empty without one."""
        ...


@dataclass(frozen=True)
class Question:
    """One SELECT, with what stands for its question marks."""

    sql: str
    parameters: Sequence[Any] = ()

    @property
    def shown(self) -> str:
        """The statement as somebody would type it: values in the place of the question marks.

        >>> Question("select '?' from spans where name = ? and start_ns < ?", ["it's", 5]).shown
        "select '?' from spans where name = 'it''s' and start_ns < 5"
        """
        values = iter(self.parameters)
        return re.sub(
            r"'(?:[^']|'')*'|\?", lambda found: _literal(next(values)) if found[0] == "?" else found[0], self.sql
        ).strip()


def _literal(value: Any) -> str:  # noqa: ANN401 - any parameter
    if value is None:
        return "null"
    return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


@dataclass(frozen=True)
class Answer:
    """The rows of a question, or why there are none."""

    question: Question
    rows: list[Row] = field(default_factory=list)
    problem: str | None = None
    hint: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns; none where there is no row."""
        return list(self.rows[0]) if self.rows else []

    @property
    def numeric(self) -> set[str]:
        """Names of the columns that hold numbers or nothing."""
        return {name for name in self.columns if {type(row[name]) for row in self.rows} <= {int, float, type(None)}}

    @property
    def first(self) -> Row:
        """The first row, empty where there is none."""
        return self.rows[0] if self.rows else {}


class Questions:
    """Asks, and waits for the answers without holding anything else up."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE + 1, thread_name_prefix="page-ask")
        self._session: aiohttp.ClientSession | None = None
        self._files: Any = None

    async def receiver(self) -> dict[str, Any] | None:
        """Return where the receiver that holds DATA answers; None when none runs."""
        found: dict[str, Any] | None = await self._in_thread(find, self.data)
        return found

    async def ask(self, asker: Asker, question: Question) -> Answer:
        """Return the answer; what goes wrong is part of it."""
        try:
            return Answer(question, orjson.loads(await self.take(asker, question, "json")))
        except SpanloopError as error:
            return Answer(question, problem=error.message, hint=error.hint)

    async def take(self, asker: Asker, question: Question, form: Form) -> bytearray:
        """Return an answer in one of the forms. Raises `SpanloopError`, also where it is too large to be held."""
        body = bytearray()
        async for piece in self.stream(asker, question, form):
            body += piece
            if len(body) > MAX_BYTES:
                raise SpanloopError(
                    f"the answer is larger than {MAX_BYTES >> 20} MiB",
                    hint="Narrow it down or add a LIMIT; the files (Parquet, CSV) hold all of it.",
                )
        return body

    async def ask_all(self, asker: Asker, *questions: Question) -> list[Answer]:
        """Return the answers of several questions, in their order."""
        return list(await asyncio.gather(*(self.ask(asker, question) for question in questions)))

    async def stream(self, asker: Asker, question: Question, form: Form) -> AsyncIterator[bytes]:
        """Yield an answer in one of the forms as it comes. Raises `SpanloopError`, mostly before the first piece."""
        async with self._turns:
            where = await self.receiver()
            pieces = (
                self._from_files(asker, question, form) if where is None else self._ask(where, asker, question, form)
            )
            async for piece in pieces:
                yield piece

    async def post(self, asker: Asker, path: str, body: Row) -> None:
        """Post JSON to the receiver. Raises `Busy` where it cannot take it now, `SettingsError` for a no."""
        where = await self.receiver()
        if where is None:
            raise Busy("no receiver runs", hint=f"Start it: spanloop receiver run --data {self.data}")
        try:
            async with self._client().post(where["http"] + path, json=body, headers=_credentials(asker)) as response:
                if response.status >= 300:
                    raise await _refusal(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _silent(where, error) from error

    async def get_text(self, asker: Asker, path: str) -> str | None:
        """Return a text of the receiver's; None where none runs or it does not tell this asker."""
        where = await self.receiver()
        if where is None:
            return None
        try:
            async with self._client().get(where["http"] + path, headers=_credentials(asker)) as response:
                return await response.text() if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _ask(self, where: dict[str, Any], asker: Asker, question: Question, form: Form) -> AsyncIterator[bytes]:
        body = {"sql": question.sql, "parameters": list(question.parameters)}
        address = f"{where['http']}/v1/sql?format={form}"
        try:
            async with self._client().post(address, json=body, headers=_credentials(asker)) as response:
                if response.status != 200:
                    raise await _refusal(response)
                async for piece in response.content.iter_chunked(1 << 16):
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _silent(where, error) from error

    async def _from_files(self, asker: Asker, question: Question, form: Form) -> AsyncIterator[bytes]:
        def begin() -> Iterator[bytes]:
            self._files = self._files or query_files(self.data)
            return cast(
                "Iterator[bytes]",
                self._files.answer(question.sql, list(question.parameters), form, asker.project),
            )

        pieces = await self._in_thread(begin)
        try:
            while (piece := await self._in_thread(next, pieces, None)) is not None:
                yield piece
        finally:
            with contextlib.suppress(ValueError):  # nobody waits for the piece under way: its process ends at its bound
                await asyncio.shield(self._in_thread(pieces.close))

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any function
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, trust_env=False, json_serialize=_dump)
        return self._session

    async def close(self) -> None:
        """End what is under way."""
        if self._session is not None:
            await self._session.close()
        if self._files is not None:
            self._files.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _dump(value: object) -> str:
    return orjson.dumps(value).decode()


def _credentials(asker: Asker) -> dict[str, str]:
    return {"Authorization": f"Bearer {asker.key}"} if asker.key else {}


async def _refusal(response: aiohttp.ClientResponse) -> SpanloopError:
    try:
        told = orjson.loads(await response.read())
        said, hint = str(told.get("error") or told.get("message")), told.get("hint")
    except (ValueError, AttributeError):
        said, hint = f"the receiver answered {response.status}", None
    kind = Busy if response.status == 503 else SettingsError
    return kind(said, hint=hint)


def _silent(where: dict[str, Any], error: BaseException) -> Busy:
    return Busy(
        f"the receiver at {where['http']} stopped answering: {type(error).__name__}", hint="Load the page again."
    )
