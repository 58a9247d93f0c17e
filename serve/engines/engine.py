"""An engine as the gateway sees it: a child process that speaks OpenAI's API on a Unix socket only the owner can reach.

A socket in a private directory, rather than a port, because engines have powers nobody else may use: vLLM's
development endpoints change weights and call into its workers without any authentication.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import orjson

from foundation.errors import GateRefused, SpanloopError
from foundation.narration import get_logger
from serve.engines.child import PARENT
from serve.engines.heartbeat import Pulse, wait_until_hung, wait_until_stalled
from serve.engines.unix_socket import PatientUnixConnector
from train.schema import Probe

log = get_logger("serve")

STOP_TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 3.0
"""How long an idle connection is kept: less than the 5 s after which vLLM's server closes it, or a call sent at that
moment would be lost."""


class NotServing(SpanloopError):
    """No engine is ready to answer; one is being started."""


class EngineFailed(SpanloopError):
    """The engine did not start, or ended, or answered what it must not."""


class LoadRefused(GateRefused):
    """The engine would not open a checkpoint, and still has the weights from before."""


class Engine(ABC):
    """A supervised engine process with one model."""

    kind: ClassVar[str]
    """`vllm` or `embedded`, as `--engine` calls it."""

    provider: ClassVar[str]
    """What `gen_ai.provider.name` says of it."""

    is_ours: ClassVar[bool] = True
    """Whether we start it, and could start another beside it."""

    def __init__(self, model: Path, name: str, log: Path, extra_arguments: Sequence[str] = ()) -> None:
        self.model = model
        self.name = name
        self.log = log
        self.extra_arguments = tuple(extra_arguments)
        self.url = "http://engine"
        self.max_adapter_rank = 0
        """Highest rank of adapters it is started to take, where it has to know; 0 for none."""

        self._directory = Path(tempfile.mkdtemp(prefix="spanloop-"))  # mode 0700
        self.socket = self._directory / "engine.sock"
        self.pulse = Pulse()
        self.is_hung = False
        """It was killed because it did not answer any more."""

        self.is_changing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._heart: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that serves the model on the socket."""

    def environment(self) -> dict[str, str]:
        """Return what the engine needs in its environment beside ours."""
        return {}

    @abstractmethod
    async def load(self, checkpoint: Path) -> str:
        """Put a checkpoint's weights in the place of those loaded and return their precision, `bfloat16` and the like.

        Called only while no request is in flight. Raises `LoadRefused` when the weights from before are still there,
        `EngineFailed` when nobody can say which are.
        """

    def can_add(self, checkpoint: Path) -> bool:  # noqa: ARG002 - one set of weights unless an engine says otherwise
        """Tell whether a checkpoint can be opened beside the model there is, in the same process."""
        return False

    async def add(self, checkpoint: Path, name: str) -> str:  # noqa: ARG002
        """Open a checkpoint beside the model there is, under a name no other had before; return its precision.

        Raises `LoadRefused` when it cannot be opened.
        """
        raise LoadRefused(f"this engine holds one model at a time, so not {checkpoint} beside it")

    async def remove(self, name: str) -> None:  # noqa: ARG002
        """Forget what was added under a name. Called when no request for it is in flight."""
        raise AssertionError("nothing was added")

    async def sleep(self) -> bool:
        """Give up what it holds of its device and stay, where it can; tell whether it did. No request is in flight."""
        return False

    async def wake(self) -> None:
        """Take the device again, with the weights from before. Raises `EngineFailed`."""
        raise AssertionError("it never sleeps")

    @property
    def parts(self) -> "Sequence[Engine]":
        """What has to prove itself after a change of weights: an engine of several processes proves each."""
        return (self,)

    @contextlib.contextmanager
    def place(self, request: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002 - one process takes every call
        """Yield the URL a call is to go to, for as long as it runs."""
        yield self.url

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client that reaches the engine."""
        assert self._session is not None, "the engine was not started"
        return self._session

    async def start(self, timeout_s: float) -> None:
        """Start the process and wait until it has answered a first request."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment(), PARENT: str(os.getpid())},
                start_new_session=True,  # a group of its own: stopped as a whole, and no Ctrl-C reaches it before us
            )
        self._session = aiohttp.ClientSession(
            connector=PatientUnixConnector(str(self.socket), limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),  # calls of different clients share nothing
            read_bufsize=1 << 20,
            auto_decompress=False,
        )
        await self._wait_until_healthy(time.monotonic() + timeout_s, timeout_s)
        # The first request after a start is slow (compilation, caches): ours, not an agent's.
        self._heart = asyncio.create_task(self._watch_heart())  # from now on it either answers or is ended
        await self.complete([0], max_tokens=2)

    async def _watch_heart(self) -> None:
        watches = [
            asyncio.create_task(self._again_and_again(watch))
            for watch in (
                lambda: wait_until_hung(self._answers, self.pulse),
                lambda: wait_until_stalled(self._progress_unless_changing, self._generates, self.pulse),
            )
        ]
        try:
            await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in watches:
                each.cancel()
        if self.is_running():
            self.is_hung = True
            log.error("the engine does not answer any more; it is killed", log=str(self.log))
            self._kill()

    async def _again_and_again(self, watch: Callable[[], Awaitable[None]]) -> None:
        """Watch until there is something to see; where looking fails, whatever was answered, look again later."""
        was_told = False
        while True:
            try:
                return await watch()
            except Exception as error:  # noqa: BLE001 - an engine that hangs later must be noticed
                if not was_told:
                    log.warning("the engine's health could not be told", error=type(error).__name__)
                was_told = True
                await asyncio.sleep(self.pulse.stall_interval_s)

    async def _answers(self, timeout_s: float) -> bool:
        """Tell whether the engine says anything within a time; a connection it refuses counts as nothing."""
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s)
            async with self.session.get(f"{self.url}/health", timeout=timeout):
                return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def progress(self) -> str | None:
        """Return something that changes with every step of the model; null where the engine says nothing of it."""
        return None

    async def _progress_unless_changing(self) -> str | None:
        return None if self.is_changing else await self.progress()

    async def _generates(self, timeout_s: float) -> bool:
        """Tell whether a token, or a refusal, comes within a time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.complete([0], max_tokens=1)
        except TimeoutError:
            return False
        except EngineFailed:
            return True
        return True

    async def read(self, path: str) -> str | None:
        """Return what the engine answers to a question about itself; null where it does not."""
        try:
            async with self.session.get(f"{self.url}{path}", timeout=aiohttp.ClientTimeout(total=10)) as response:
                return await response.text() if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Let a change of weights take as long as it takes: meanwhile no token is expected."""
        self.is_changing = True
        try:
            yield
        finally:
            self.is_changing = False

    def _kill(self) -> None:
        """End the process and what it started, without asking."""
        assert self._process is not None, "it was started"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait_until_healthy(self, deadline: float, timeout_s: float) -> None:
        while not await self.is_healthy():
            if not self.is_running():
                raise EngineFailed(
                    f"the engine ended while starting (status {self.exit_status()}):\n{self.log_tail()}",
                    hint=f"Its whole output is in {self.log}",
                )
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"the engine was not ready after {timeout_s:.0f} s:\n{self.log_tail()}",
                    hint=f"Its whole output is in {self.log}; give it longer with --start-timeout-s",
                )
            await asyncio.sleep(0.1)

    async def is_healthy(self) -> bool:
        """Tell whether the engine says it can answer."""
        try:
            async with self.session.get(f"{self.url}/health", timeout=aiohttp.ClientTimeout(total=5)) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def is_running(self) -> bool:
        """Tell whether the process is there."""
        return self._process is not None and self._process.poll() is None

    async def ended(self) -> None:
        """Wait until the process has ended, for whatever reason."""
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)

    def exit_status(self) -> int | None:
        """Return how the process ended."""
        return None if self._process is None else self._process.poll()

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines the engine wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def stop(self) -> None:
        """End the process and everything it started."""
        if self._heart is not None:
            self._heart.cancel()
        if self._session is not None:
            await self._session.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._process.wait), STOP_TIMEOUT_S)
            self._kill()  # what it left behind, or itself
            self._process.wait()
            self._process = None
        self.release()

    def release(self) -> None:
        """Remove the directory of the socket."""
        shutil.rmtree(self._directory, ignore_errors=True)

    async def post(self, path: str, body: Any = None, **parameters: str) -> Any:  # noqa: ANN401 - JSON
        """Send JSON and return the JSON answered; raise `EngineFailed` for anything but 200."""
        try:
            async with self.session.post(f"{self.url}{path}", json=body, params=parameters) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailed(f"the engine does not answer {path}: {error}") from error
        if response.status != 200:
            raise EngineFailed(
                f"the engine answered {path} with {response.status}: {content[:500].decode('utf-8', 'replace')}"
            )
        return _parsed(content, path) if content else None

    async def chat(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Ask for a chat completion; return status and answer. Raises `EngineFailed` when none came."""
        with self.place(body) as url:
            try:
                async with self.session.post(f"{url}/v1/chat/completions", json=body) as response:
                    content = await response.read()
            except (aiohttp.ClientError, OSError) as error:
                raise EngineFailed(f"the engine did not answer a chat completion: {error}") from error
        if response.status >= 500:
            raise EngineFailed(f"the engine answered a chat completion with {response.status}")
        return response.status, _parsed(content, "a chat completion")

    async def complete(self, prompt: list[int], *, max_tokens: int, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """Continue a prompt of token ids."""
        body = {"model": self.name, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **parameters}
        answer: dict[str, Any] = await self.post("/v1/completions", body)
        return answer

    async def score(self, prompt: list[int], response: list[int], model: str | None = None) -> list[float]:
        """Return the log-probability at temperature 1 of each response id after the prompt."""
        ids = [*prompt, *response]
        answer = await self.complete(ids, max_tokens=1, prompt_logprobs=0, model=model or self.name)
        table = asked_for(answer, "prompt_logprobs")
        with _understood("prompt_logprobs"):
            return [float(table[place][str(ids[place])]["logprob"]) for place in range(len(prompt), len(ids))]

    async def make_probe(self, vocabulary_size: int, *, num_tokens: int = 24) -> Probe:
        """Record what the loaded weights say to a fixed prompt, to recognise them by when they come back."""
        prompt = [index * 37 % vocabulary_size for index in range(1, 17)]
        answer = await self.complete(prompt, max_tokens=num_tokens, return_token_ids=True, ignore_eos=True)
        response = asked_for(answer, "token_ids")
        return Probe(prompt_token_ids=prompt, response_token_ids=response, logprobs=await self.score(prompt, response))


def asked_for(answer: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a completion was asked to hold. Raises `EngineFailed` where it does not."""
    with _understood("choices"):
        found = answer["choices"][0].get(name)
    if found is None:
        raise EngineFailed(
            f"the engine answered a completion without the {name} it was asked for",
            hint="It has to be vLLM, or to answer as vLLM does: else nothing tells which weights it serves.",
        )
    return found


def _parsed(content: bytes, what: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise EngineFailed(f"the engine answered {what} with something that is no JSON") from error


@contextlib.contextmanager
def _understood(name: str) -> Iterator[None]:
    """Read a part of an answer; raise `EngineFailed` where it is not what vLLM would say."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise EngineFailed(f"the engine answered with {name} that are not like vLLM's") from error
