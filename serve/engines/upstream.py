"""vLLM that already runs elsewhere: one or several replicas that nobody here starts or stops.

Calls that begin alike go to the same replica, because its prefix cache holds what they share, unless it has more than
its share of the work. A replica that went away is asked again only once it has proved which weights it has: whoever
started it anew may have started it on others.
"""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from foundation.errors import SpanloopError
from foundation.narration import get_logger
from serve.engines.engine import CONNECT_TIMEOUT_S, KEEP_ALIVE_S, Engine, EngineFailed, LoadRefused, NotServing
from serve.engines.vllm import VllmEngine

log = get_logger("serve")

WATCH_INTERVAL_S = 1.0
MAX_LATE = 3
"""Checks of health in a row that a replica may be too busy to answer. One that refuses a connection is gone at once."""

HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=5)
MAX_OVERLOAD = 1.25
"""Calls in flight at one replica, as a multiple of the mean, above which its calls go to the next in line."""

MAX_KEY_BYTES = 4096

Prove = Callable[[Engine, Path], Awaitable[bool]]
"""Tell whether an engine answers with the weights of a model directory."""


class Replica(VllmEngine):
    """One vLLM at a URL."""

    def __init__(self, url: str, model: Path, session: aiohttp.ClientSession, log_path: Path) -> None:
        super().__init__(model, "", log_path)
        self.url = url
        self._session = session
        self.num_in_flight = 0
        self.num_late = 0
        self.is_ready = False

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for an answer, learn the name the model is served under there, and send a first request."""
        deadline = time.monotonic() + timeout_s
        while not await self.is_healthy():
            if time.monotonic() > deadline:
                raise EngineFailed(f"{self.url} did not answer /health within {timeout_s:.0f} s")
            await asyncio.sleep(0.2)
        try:
            async with self.session.get(f"{self.url}/v1/models") as response:
                self.name = orjson.loads(await response.read())["data"][0]["id"]
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError) as error:
            raise EngineFailed(f"{self.url}/v1/models does not say which model is served") from error
        await self.complete([0], max_tokens=2)

    async def is_healthy(self) -> bool:
        """Tell whether it says it can answer; one in use may be late a few times."""
        try:
            async with self.session.get(f"{self.url}/health", timeout=HEALTH_TIMEOUT) as response:
                self.num_late = 0
                return response.status == 200
        except TimeoutError:
            self.num_late += 1
            return self.is_ready and self.num_late < MAX_LATE
        except (aiohttp.ClientError, OSError):
            return False

    async def sleep(self) -> bool:
        """Have it sleep, where it was started so that it can."""
        try:
            await self.post("/sleep", level="1", mode="wait")
        except EngineFailed:
            return False
        return True

    async def load(self, checkpoint: Path) -> str:
        """Change the weights in place, where the replica was started so that they can be changed."""
        async with self.session.get(f"{self.url}/is_paused") as response:
            if response.status != 200:
                raise LoadRefused(
                    f"{self.url} cannot change its weights in place",
                    hint="Start it with VLLM_SERVER_DEV_MODE=1 and --worker-extension-cls "
                    "serve.engines.vllm_extension.SwapExtension, where nobody but the gateway reaches it; or start it "
                    "on the new weights, stop the gateway, promote, and start the gateway again.",
                )
        return await super().load(checkpoint)


class UpstreamEngine(Engine):
    """Replicas behind one face."""

    is_ours = False

    kind = "vllm"
    provider = "vllm"

    def __init__(
        self, urls: Sequence[str], model: Path, log_path: Path, prove: Prove, *, api_key: str | None = None
    ) -> None:
        super().__init__(model, "", log_path)
        self._urls = urls
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._prove = prove
        self._target = model
        """What every replica that is ready has loaded."""

        self._changing = asyncio.Lock()
        self._released = asyncio.Event()
        self.watch_interval_s = WATCH_INTERVAL_S
        self.replicas: list[Replica] = []

    def command(self) -> list[str]:
        """Not for us to start."""
        raise AssertionError("replicas run elsewhere")

    @property
    def parts(self) -> Sequence[Engine]:
        """The replicas that take calls; each is proved on its own."""
        return [replica for replica in self.replicas if replica.is_ready]

    async def start(self, timeout_s: float) -> None:
        """Wait until every replica answers."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # calls of different clients share nothing
            read_bufsize=1 << 20,
            auto_decompress=False,
        )
        self.replicas = [Replica(url, self.model, self._session, self.log) for url in self._urls]
        await asyncio.gather(*(replica.wait_until_ready(timeout_s) for replica in self.replicas))
        names = {replica.name for replica in self.replicas}
        if len(names) > 1:
            raise EngineFailed(f"the upstreams serve models of different names: {', '.join(sorted(names))}")
        (self.name,) = names
        for replica in self.replicas:
            replica.is_ready = True

    def is_running(self) -> bool:
        """Tell whether any replica takes calls."""
        return any(replica.is_ready for replica in self.replicas)

    async def ended(self) -> None:
        """Watch the replicas until we let go of them: whoever runs them starts them again, not we."""
        while not self._released.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), self.watch_interval_s)
            if not self._released.is_set():
                for replica in self.replicas:
                    await self._watch(replica)

    async def _watch(self, replica: Replica) -> None:
        is_healthy = await replica.is_healthy()
        if replica.is_ready and not is_healthy:
            self._set_aside(replica, "does not answer /health")
        elif is_healthy and not replica.is_ready:
            async with self._changing:
                try:
                    await replica.wait_until_ready(CONNECT_TIMEOUT_S)
                    if not await self._prove(replica, self._target):
                        await replica.load(self._target)
                        replica.is_ready = await self._prove(replica, self._target)
                    else:
                        replica.is_ready = True
                except Exception as error:  # noqa: BLE001 - whatever one replica answers, the others go on
                    said = error.message if isinstance(error, SpanloopError) else type(error).__name__
                    log.warning("a replica is kept out", url=replica.url, error=said.splitlines()[0])
                else:
                    log.info("a replica is back" if replica.is_ready else "a replica is kept out", url=replica.url)

    async def sleep(self) -> bool:
        """Have every replica sleep; where one cannot, none does."""
        asleep: list[Engine] = []
        for replica in self.parts:
            if not await replica.sleep():
                for other in asleep:
                    await other.wake()
                return False
            asleep.append(replica)
        return bool(asleep)

    async def wake(self) -> None:
        """Wake every replica."""
        for replica in self.parts:
            await replica.wake()

    async def stop(self) -> None:
        """Let go of the replicas."""
        self._released.set()
        for replica in self.replicas:
            replica.release()
        await super().stop()

    async def complete(self, prompt: list[int], *, max_tokens: int, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Continue a prompt of token ids, on any replica."""
        with self.place({}) as url:
            replica = next(each for each in self.replicas if each.url == url)
            return await replica.complete(prompt, max_tokens=max_tokens, **parameters)

    async def load(self, checkpoint: Path) -> str:
        """Change the weights of every replica that takes calls; when one refuses, give the others theirs back."""
        async with self._changing:
            changed: list[Engine] = []
            dtype = ""
            for replica in self.parts:
                try:
                    dtype = await replica.load(checkpoint)
                except LoadRefused:
                    for other in changed:
                        await other.load(self._target)
                    raise
                changed.append(replica)
            if not changed:
                raise LoadRefused("no upstream answers")
            self._target = checkpoint
            return dtype

    @contextlib.contextmanager
    def place(self, request: Mapping[str, Any]) -> Iterator[str]:
        """Yield the URL of the replica a call is to go to, and count the call while the block runs."""
        ready = [replica for replica in self.replicas if replica.is_ready]
        if not ready:
            raise NotServing("no upstream answers", hint="Try again in a few seconds.")
        loads = {replica.url: replica.num_in_flight for replica in ready}
        url = choose(loads, affinity_key(request))
        replica = next(each for each in ready if each.url == url)
        replica.num_in_flight += 1
        try:
            yield url
        except aiohttp.ClientConnectorError as error:
            self._set_aside(replica, type(error).__name__)
            raise
        finally:
            replica.num_in_flight -= 1

    def _set_aside(self, replica: Replica, reason: str) -> None:
        replica.is_ready = False
        log.warning("a replica is set aside until it has proved itself", url=replica.url, reason=reason)


def affinity_key(request: Mapping[str, Any]) -> bytes:
    """Return what calls of one conversation have in common: everything up to the first user message, tools included.

    >>> first = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]}
    >>> later = {"messages": [*first["messages"], {"role": "assistant", "content": "b"}]}
    >>> affinity_key(first) == affinity_key(later)
    True
    """
    messages = request.get("messages") or request.get("input")  # chat, and the Responses API
    if not isinstance(messages, list):
        return orjson.dumps([request.get("instructions"), messages or request.get("prompt")])[:MAX_KEY_BYTES]
    first_user = next(
        (
            place
            for place, message in enumerate(messages)
            if isinstance(message, dict) and message.get("role") == "user"
        ),
        len(messages),
    )
    beginning = [request.get("instructions"), messages[: first_user + 1], request.get("tools")]
    return orjson.dumps(beginning)[:MAX_KEY_BYTES]


def choose(loads: Mapping[str, int], key: bytes) -> str:
    """Choose a replica for a key: always the same one while it is there and not overloaded.

    Rendezvous hashing (Thaler and Ravishankar 1998): when a replica comes or goes, only its own keys move. The bound on
    load is that of Mirrokni, Thorup and Zadimoghaddam (2018).

    >>> loads = {"http://a": 0, "http://b": 0, "http://c": 0}
    >>> first = choose(loads, b"key")
    >>> choose(loads | {first: 9}, b"key") != first
    True
    """
    most = max(1, math.ceil(MAX_OVERLOAD * (sum(loads.values()) + 1) / len(loads)))
    ranked = sorted(loads, key=lambda url: hashlib.blake2b(url.encode() + b"\0" + key, digest_size=8).digest())
    return next((url for url in ranked if loads[url] < most), ranked[0])
