import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from serve.change.parity import check_parity
from serve.change.proof import ProbeFailed
from serve.change.swap import swap, undone_on_error
from serve.engines.engine import Engine, EngineFailed, LoadRefused, NotServing
from serve.engines.upstream import Replica, UpstreamEngine, choose
from train.schema import Probe

PROBE = Probe(prompt_token_ids=[1], response_token_ids=[2, 3], logprobs=[-2.0, -2.0])


class CardboardVllm:
    """The part of vLLM's API that a replica is asked, over real HTTP; its weights are a directory's name."""

    def __init__(self, *, can_load: bool = True, can_sleep: bool = True) -> None:
        self.can_sleep = can_sleep
        self.is_asleep = False
        self.weights = "old"
        self.can_load = can_load
        self.forgets = False
        """Answers 200 to a change of weights and keeps the old ones."""

        self.nonsense: str | None = None
        """What it answers completions with, instead; and how often it did."""

        self.num_nonsense = 0
        self.url = ""
        self.keys: list[str | None] = []
        """Of each request, the key it came with."""

        self._runner: web.AppRunner

    async def _complete(self, http: web.Request) -> web.Response:
        if self.nonsense is not None:
            self.num_nonsense += 1
            return web.Response(text=self.nonsense)
        prompt = (await http.json())["prompt"]
        table = [{str(token): {"logprob": -2.0 if self.weights == "new" else -1.0}} for token in prompt]
        return web.json_response({"choices": [{"prompt_logprobs": table}]})

    async def _call(self, http: web.Request) -> web.Response:
        path = Path((await http.json())["args"][0])
        if not self.forgets:
            self.weights = path.name
        return web.json_response({"results": [{"ok": True, "dtype": "float32"}]})

    async def _sleep(self, http: web.Request) -> web.Response:
        assert dict(http.query) == {"level": "1", "mode": "wait"}
        self.is_asleep = self.can_sleep
        return web.json_response({}, status=200 if self.can_sleep else 404)

    async def _wake(self, _: web.Request) -> web.Response:
        self.is_asleep = False
        return web.json_response({"status": "awake"})

    async def _ok(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "served"}]})

    async def _is_paused(self, _: web.Request) -> web.Response:
        return web.json_response({}, status=200 if self.can_load else 404)

    async def start(self, port: int = 0) -> int:
        @web.middleware
        async def note_key(request: web.Request, handler: Any) -> Any:
            self.keys.append(request.headers.get("Authorization"))
            return await handler(request)

        app = web.Application(middlewares=[note_key])
        app.add_routes([web.get(path, self._ok) for path in ("/health", "/v1/models")])
        app.add_routes([web.post(path, self._ok) for path in ("/pause", "/resume", "/reset_prefix_cache")])
        app.add_routes([web.post("/v1/completions", self._complete), web.post("/collective_rpc", self._call)])
        app.add_routes([web.get("/is_paused", self._is_paused)])
        app.add_routes([web.post("/sleep", self._sleep), web.post("/wake_up", self._wake)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        bound: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{bound}"
        return bound

    async def stop(self) -> None:
        await self._runner.cleanup()


async def prove(engine: Engine, model: Path) -> bool:
    return await engine.score([1], [2]) == [-2.0 if model.name == "new" else -1.0]


@contextlib.asynccontextmanager
async def upstream(*replicas: CardboardVllm) -> AsyncIterator[UpstreamEngine]:
    for replica in replicas:
        await replica.start()
    engine = UpstreamEngine([replica.url for replica in replicas], Path("old"), Path("unused.log"), prove)
    await engine.start(5)
    try:
        yield engine
    finally:
        await engine.stop()
        for replica in replicas:
            await replica.stop()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def conversation(number: int, turns: int = 1) -> dict[str, Any]:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": str(number)}]
    return {"messages": [*messages, *({"role": "assistant", "content": "a"} for _ in range(turns - 1))]}


@pytest.mark.parametrize("key", ["messages", "input"])
def test_calls_of_one_conversation_go_to_one_replica(key: str) -> None:
    """Whatever its length and whichever API; many conversations spread over all."""

    async def scenario() -> None:
        async with upstream(CardboardVllm(), CardboardVllm(), CardboardVllm()) as engine:
            counts: Counter[str] = Counter()
            for number in range(60):
                places = set()
                for turns in range(1, 4):
                    with engine.place({key: conversation(number, turns)["messages"]}) as url:
                        places.add(url)
                assert len(places) == 1
                counts.update(places)
            assert len(counts) == 3
            assert min(counts.values()) > 5

    run(scenario)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.binary(max_size=8))
def test_no_replica_gets_more_than_its_share(loads: list[int], key: bytes) -> None:
    """The chosen one has at most a quarter more than the mean, and one more call."""
    by_url = {f"http://{place}": load for place, load in enumerate(loads)}

    chosen = choose(by_url, key)

    assert by_url[chosen] <= 1.25 * (sum(loads) + 1) / len(loads)
    assert chosen == choose(by_url, key)


def test_weights_change_on_every_replica_and_each_proves_itself() -> None:
    """One that answers 200 and keeps the old weights undoes the change on all."""

    async def scenario() -> None:
        first, second = CardboardVllm(), CardboardVllm()
        async with upstream(first, second) as engine:
            await swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0])
            assert (first.weights, second.weights) == ("new", "new")
            probes = [PROBE.model_copy(update={"logprobs": [-1.0, -1.0]})]
            await swap(engine, Path("old"), probes, before=[-2.0, -2.0])

            second.forgets = True
            with pytest.raises(ProbeFailed):
                async with undone_on_error(engine):
                    await swap(engine, Path("new"), [PROBE], before=[-1.0, -1.0])
            assert (first.weights, second.weights) == ("old", "old")

    run(scenario)


def test_a_replica_that_cannot_change_refuses_for_all() -> None:
    """The one that had changed gets its weights back; the hint says how to start a replica that can."""

    async def scenario() -> None:
        first, second = CardboardVllm(), CardboardVllm(can_load=False)
        async with upstream(first, second) as engine:
            with pytest.raises(LoadRefused) as refused:
                await engine.load(Path("new"))
            assert "SwapExtension" in str(refused.value)
            assert first.weights == "old"

    run(scenario)


def test_a_replica_that_was_away_proves_its_weights_before_it_is_asked() -> None:
    """It comes back as it was first started; the live weights are loaded before a call reaches it."""

    async def scenario() -> None:
        first, second = CardboardVllm(), CardboardVllm()
        async with upstream(first, second) as engine:
            engine.watch_interval_s = 0.01
            watching = asyncio.create_task(engine.ended())
            port = int(second.url.rpartition(":")[2])
            await second.stop()
            while len(engine.parts) > 1:
                await asyncio.sleep(0.01)
            await engine.load(Path("new"))
            assert second.weights == "old"

            await second.start(port)
            while len(engine.parts) < 2:
                await asyncio.sleep(0.01)
            assert second.weights == "new"

            await first.stop()
            await second.stop()
            while engine.parts:
                await asyncio.sleep(0.01)
            with pytest.raises(NotServing), engine.place({}):
                pass
            watching.cancel()

    run(scenario)


@pytest.mark.parametrize(
    "said", ["<html>", "[]", "{}", '{"choices": [5]}', '{"choices": [{"prompt_logprobs": [1, 2, 3]}]}']
)
def test_a_replica_that_comes_back_as_something_else_is_kept_out(said: str) -> None:
    """Whatever it answers, the gateway goes on watching it and the others."""

    async def scenario() -> None:
        first, second = CardboardVllm(), CardboardVllm()
        async with upstream(first, second) as engine:
            second.nonsense = said
            engine.watch_interval_s = 0.01
            engine.replicas[1].is_ready = False
            watching = asyncio.create_task(engine.ended())
            while second.num_nonsense < 3:
                await asyncio.sleep(0.01)
            assert not watching.done()
            assert [replica.is_ready for replica in engine.replicas] == [True, False]
            watching.cancel()

    run(scenario)


def test_a_replica_that_cannot_be_reached_is_not_asked_again() -> None:
    """The call that found out fails in a way that can be retried; the next goes elsewhere."""

    async def scenario() -> None:
        first, second = CardboardVllm(), CardboardVllm()
        async with upstream(first, second) as engine:
            await second.stop()
            lost = next(each for each in engine.replicas if each.url == second.url)
            number = next(number for number in range(99) if placed(engine, number) == second.url)
            for _ in range(2):  # the first finds that an idle connection was closed, the second that no new one opens
                with contextlib.suppress(aiohttp.ClientConnectionError), engine.place(conversation(number)) as url:
                    await engine.session.post(f"{url}/v1/completions", json={"prompt": [1]})
            assert not lost.is_ready
            assert placed(engine, number) == first.url

    run(scenario)


def placed(engine: UpstreamEngine, number: int) -> str:
    with engine.place(conversation(number)) as url:
        return url


@pytest.mark.parametrize("can_sleep", [True, False])
def test_replicas_sleep_together_or_not_at_all(*, can_sleep: bool) -> None:
    """One that cannot keeps its device, so the others keep theirs."""

    async def scenario() -> None:
        first, second = CardboardVllm(), CardboardVllm(can_sleep=can_sleep)
        async with upstream(first, second) as engine:
            assert await engine.sleep() is can_sleep
            assert [each.is_asleep for each in (first, second)] == [can_sleep] * 2
            if can_sleep:
                await engine.wake()
                assert not first.is_asleep
                assert not second.is_asleep

    run(scenario)


def test_the_key_of_the_upstreams_goes_with_every_request() -> None:
    """Calls, probes and checks of health alike."""

    async def scenario() -> None:
        replica = CardboardVllm()
        await replica.start()
        engine = UpstreamEngine([replica.url], Path("old"), Path("unused.log"), prove, api_key="sk-upstream")
        await engine.start(5)
        await engine.complete([1], max_tokens=1)

        assert set(replica.keys) == {"Bearer sk-upstream"}
        assert len(replica.keys) >= 4
        await engine.stop()
        await replica.stop()

    run(scenario)


def test_a_server_that_is_not_like_vllm_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its completions are text alone, as of many servers that speak OpenAI's API."""

    async def text(_: CardboardVllm, __: web.Request) -> web.Response:
        return web.json_response({"choices": [{"index": 0, "text": "hi", "logprobs": None, "finish_reason": "stop"}]})

    async def scenario() -> None:
        async with upstream(CardboardVllm()) as engine:
            with pytest.raises(EngineFailed, match="without the token_ids") as failed:
                await engine.parts[0].make_probe(64)
            assert "vLLM" in str(failed.value.hint)
            with pytest.raises(EngineFailed, match="without the prompt_logprobs"):
                await engine.parts[0].score([1], [2])
            with pytest.raises(EngineFailed, match="without the logprobs"):
                await check_parity(engine, [PROBE], "float32")

    monkeypatch.setattr(CardboardVllm, "_complete", text)
    run(scenario)


def test_replicas_of_different_models_are_no_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names differ: the gateway would not know what to ask for."""

    async def scenario() -> None:
        async def named(self: Replica, _: float) -> None:
            self.name = self.url

        monkeypatch.setattr(Replica, "wait_until_ready", named)
        engine = UpstreamEngine(["http://a", "http://b"], Path("old"), Path("unused.log"), prove)
        with pytest.raises(Exception, match="different names"):
            await engine.start(1)
        await engine.stop()

    run(scenario)
