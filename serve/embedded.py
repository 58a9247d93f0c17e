"""The embedded engine: OpenAI's API over a Transformers model, for laptops and tests where vLLM cannot run.

It speaks the part of vLLM's API the gateway uses, with the same fields: exact token ids, log-probabilities of the
distribution that was sampled from, `prompt_logprobs`. What it cannot do it refuses; it never ignores a parameter that
would have changed the answer. Run by the gateway as `python -m serve.embedded MODEL --uds SOCKET`; it answers only
on that socket.
"""

import argparse
import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import torch
from aiohttp import web
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer

from serve.adapters import adapter_base
from serve.chat import BadConversation, ToolCall, ToolCallStream, encode_conversation, parse_tool_calls
from serve.child import end_with_parent
from serve.generation import Batch, Generator, Row, Token, prompt_logprobs
from serve.sampling import Sampling, UnsupportedParameter, parse_sampling

MAX_BODY_BYTES = 64 << 20
MAX_CHOICES = 128


def load_model(path: Path) -> Any:  # noqa: ANN401 - transformers ships no types
    """Open a model directory: safetensors only, no code of its own, in the checkpoint's own precision.

    The weights of an adapter directory are those of its base with the adapter merged into them.
    """
    base = adapter_base(path)
    model = AutoModelForCausalLM.from_pretrained(
        base or path, dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    if base is not None:
        model = _merge(model, path)
    model.eval()
    if getattr(model, "_is_stateful", False):
        raise ValueError(f"{type(model).__name__} keeps recurrent state, which the embedded engine cannot batch")
    return model


def _merge(model: Any, adapter: Path) -> Any:  # noqa: ANN401
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ValueError("adapters need PEFT: pip install 'spanloop[serve]'") from error
    return PeftModel.from_pretrained(model, adapter, local_files_only=True).merge_and_unload(safe_merge=True)


@dataclass
class Choice:
    """One answer as it grows."""

    index: int
    ids: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None


@dataclass(frozen=True)
class Piece:
    """What one sampled token added to a choice."""

    choice: Choice
    token: Token
    text: str


@dataclass(frozen=True)
class Job:
    """A request, understood."""

    id: str
    is_chat: bool
    model: str
    weights: "Weights"
    prompt: list[int]
    sampling: Sampling
    num_choices: int
    stream: bool
    include_usage: bool
    logprobs: bool
    token_ids: bool
    prompt_logprobs: bool
    parse_tools: bool
    created: int


class UnknownModel(ValueError):
    """A request names a model that is not loaded."""


@dataclass
class Weights:
    """What answers to one name: a model and the batch it runs."""

    path: Path
    max_length: int
    vocabulary_size: int
    eos_ids: frozenset[int]
    generator: Generator
    running: asyncio.Task[None] | None = None


class Engine:
    """One tokenizer, and models of any number of names that share it."""

    def __init__(self, model_path: Path, name: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True, trust_remote_code=False)
        self._models = {name: self._describe(model_path, load_model(model_path))}

    def _describe(self, path: Path, model: Any) -> Weights:  # noqa: ANN401
        return Weights(
            path,
            max_length=int(getattr(model.config, "max_position_embeddings", 4096)),
            vocabulary_size=int(model.config.vocab_size),
            eos_ids=_eos_ids(model, self.tokenizer),
            generator=Generator(model),
        )

    def start(self) -> None:
        """Run the batches of the models there are."""
        for weights in self._models.values():
            weights.running = asyncio.create_task(weights.generator.run())

    def find(self, name: object) -> Weights:
        """Return what answers to a name."""
        weights = self._models.get(name) if isinstance(name, str) else None
        if weights is None:
            raise UnknownModel("the model of this request is not loaded")
        return weights

    async def load(self, path: Path, name: str) -> str:
        """Put a model under a name and return its precision; one that has the name gives way once no row is in flight.

        An adapter is added to the weights of the base its directory names.
        """
        model = await asyncio.to_thread(load_model, path)
        weights = self._models.get(name)
        if weights is None:
            weights = self._models[name] = self._describe(path, model)
            weights.running = asyncio.create_task(weights.generator.run())
        else:

            def put_in_place(batch: Batch) -> None:
                batch.model = model

            await weights.generator.when_idle(put_in_place)
            weights.path = path
        return str(model.dtype).removeprefix("torch.")

    def unload(self, name: str) -> None:
        """Forget a model. Called when none of its rows is in flight."""
        weights = self._models.pop(name, None)
        if weights is not None and weights.running is not None:
            weights.running.cancel()

    async def sample(self, job: Job) -> AsyncGenerator[Piece, None]:
        """Yield every sampled token of every choice as it comes; leaving early takes the rows out of the batch."""
        pieces: asyncio.Queue[tuple[int, Token] | Exception] = asyncio.Queue()

        def deliver(index: int, token: Token) -> None:
            pieces.put_nowait((index, token))

        rows = [
            Row(
                job.prompt,
                _seeded(job.sampling, index),
                job.weights.eos_ids,
                deliver=partial(deliver, index),
                fail=pieces.put_nowait,
            )
            for index in range(job.num_choices)
        ]
        choices = [Choice(index) for index in range(job.num_choices)]
        texts = [TextStream(self.tokenizer, keep_special=job.parse_tools) for _ in choices]
        for row in rows:
            job.weights.generator.submit(row)
        try:
            num_open = len(choices)
            while num_open:
                piece = await pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                index, token = piece
                choice = choices[index]
                if choice.finish_reason is not None:
                    continue  # sampled between the stop string and the row's leaving
                text = "" if token.id in job.weights.eos_ids else texts[index].add(token.id)
                choice.ids.append(token.id)
                choice.tokens.append(token)
                choice.finish_reason = token.finish_reason
                grown = choice.text + text
                cut = _find_stop(grown, job.sampling.stop, start=len(choice.text))
                if cut is not None:
                    text, grown = grown[len(choice.text) : cut], grown[:cut]
                    choice.finish_reason = "stop"
                    rows[index].is_cancelled = True
                choice.text = grown
                num_open -= choice.finish_reason is not None
                yield Piece(choice, token, text)
        finally:
            for row in rows:
                row.is_cancelled = True


class TextStream:
    """Ids to text, one id at a time; bytes that are no character yet wait for the rest of it."""

    def __init__(self, tokenizer: Any, *, keep_special: bool) -> None:  # noqa: ANN401
        self._tokenizer = tokenizer.backend_tokenizer
        self._skip_special = not keep_special
        self._decoder = DecodeStream(skip_special_tokens=self._skip_special)

    def add(self, token_id: int) -> str:
        """Return the text this id completes."""
        try:
            return self._decoder.step(self._tokenizer, token_id) or ""
        except Exception as error:
            # Bytes that can never become a character leave the library's decoder stuck; vLLM starts it anew as well.
            if "Invalid prefix" not in str(error):
                raise
            self._decoder = DecodeStream(skip_special_tokens=self._skip_special)
            return self._decoder.step(self._tokenizer, token_id) or ""


def _seeded(sampling: Sampling, index: int) -> Sampling:
    """Give every choice of a seeded request a seed of its own, so that they differ."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index)


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:  # noqa: ANN401
    declared = model.generation_config.eos_token_id
    ids = set(declared) if isinstance(declared, list) else {declared}
    return frozenset((ids | {tokenizer.eos_token_id}) - {None})


def _find_stop(text: str, stops: tuple[str, ...], *, start: int) -> int | None:
    """Return where the earliest stop string begins that ends after `start`, or None.

    >>> _find_stop("one two", ("two", "o t"), start=5)
    4
    """
    found = [text.find(stop, max(0, start - len(stop) + 1)) for stop in stops]
    return min((place for place in found if place >= 0), default=None)


# --- requests


def read_job(engine: Engine, request: Mapping[str, Any], *, is_chat: bool) -> Job:
    """Understand a request; raise `ValueError` with a message for the client."""
    weights = engine.find(request.get("model"))
    if is_chat:
        tools = request.get("tools") or None
        prompt = encode_conversation(engine.tokenizer, request.get("messages"), tools)
        parse_tools = bool(tools) and request.get("tool_choice") != "none"
    else:
        prompt = _read_prompt(engine, weights, request.get("prompt"))
        parse_tools = False
    room = weights.max_length - len(prompt)
    if not prompt or room < 1:
        raise BadConversation(
            f"the prompt has {len(prompt)} tokens; it and an answer must fit into this model's {weights.max_length}"
        )
    num_choices = request.get("n") or 1
    if not isinstance(num_choices, int) or not 1 <= num_choices <= MAX_CHOICES:
        raise UnsupportedParameter(f"n must be between 1 and {MAX_CHOICES}")
    # Completions answer 16 tokens when nothing is said, chat as many as there is room for: OpenAI's own defaults.
    asked = request if is_chat or request.get("max_tokens") is not None else {**request, "max_tokens": 16}
    sampling = parse_sampling(asked, default_max_tokens=room)
    logprobs = request.get("logprobs")
    return Job(
        id=f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}",
        is_chat=is_chat,
        model=request["model"],
        weights=weights,
        prompt=prompt,
        sampling=sampling,
        num_choices=num_choices,
        stream=bool(request.get("stream")),
        include_usage=bool((request.get("stream_options") or {}).get("include_usage")),
        logprobs=bool(logprobs) if is_chat else logprobs is not None and logprobs is not False,
        token_ids=bool(request.get("return_token_ids")),
        prompt_logprobs=request.get("prompt_logprobs") is not None,
        parse_tools=parse_tools,
        created=int(time.time()),
    )


def _read_prompt(engine: Engine, weights: Weights, prompt: object) -> list[int]:
    if isinstance(prompt, str):
        ids: list[int] = engine.tokenizer.encode(prompt)
        return ids
    size = weights.vocabulary_size
    if isinstance(prompt, list) and all(type(item) is int and 0 <= item < size for item in prompt):
        return prompt
    raise BadConversation("prompt must be one text or one list of token ids of this model")


# --- answers


def _token_text(engine: Engine, token_id: int) -> str:
    text: str = engine.tokenizer.decode([token_id])
    return text


def _logprobs(engine: Engine, job: Job, tokens: list[Token]) -> dict[str, Any] | None:
    if not job.logprobs:
        return None
    if job.is_chat:

        def entry(token_id: int, logprob: float) -> dict[str, Any]:
            text = _token_text(engine, token_id)
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        return {
            "content": [
                {
                    **entry(token.id, token.logprob),
                    "top_logprobs": [entry(token_id, logprob) for token_id, logprob in token.top],
                }
                for token in tokens
            ]
        }
    texts = [_token_text(engine, token.id) for token in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {text: token.logprob} | {_token_text(engine, token_id): logprob for token_id, logprob in token.top}
            for text, token in zip(texts, tokens, strict=True)
        ],
        "text_offset": [0] * len(tokens),
    }


def _usage(job: Job, num_sampled: int) -> dict[str, int]:
    num_prompt = len(job.prompt)
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_sampled,
        "total_tokens": num_prompt + num_sampled,
    }


def _head(job: Job, kind: str) -> dict[str, Any]:
    return {"id": job.id, "object": kind, "created": job.created, "model": job.model}


def _message(job: Job, choice: Choice) -> tuple[dict[str, Any], str | None]:
    content: str | None = choice.text
    calls: list[ToolCall] = []
    if job.parse_tools:
        content, calls = parse_tool_calls(choice.text)
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [call.as_openai() for call in calls]
    return message, _finish_reason(choice, calls)


def _finish_reason(choice: Choice, calls: list[ToolCall]) -> str | None:
    return "tool_calls" if calls and choice.finish_reason == "stop" else choice.finish_reason


async def _answer_whole(engine: Engine, job: Job) -> dict[str, Any]:
    choices: dict[int, Choice] = {}
    async with contextlib.aclosing(engine.sample(job)) as pieces:
        async for piece in pieces:
            choices[piece.choice.index] = piece.choice
    bodies = []
    for _, choice in sorted(choices.items()):
        body: dict[str, Any] = {"index": choice.index, "logprobs": _logprobs(engine, job, choice.tokens)}
        if job.is_chat:
            body["message"], body["finish_reason"] = _message(job, choice)
        else:
            body["text"], body["finish_reason"] = choice.text, choice.finish_reason
        if job.token_ids:
            body["token_ids"] = choice.ids
            if not job.is_chat:
                body["prompt_token_ids"] = job.prompt
        bodies.append(body)
    answer = {**_head(job, "chat.completion" if job.is_chat else "text_completion"), "choices": bodies}
    answer["usage"] = _usage(job, sum(len(choice.ids) for choice in choices.values()))
    if job.token_ids and job.is_chat:
        answer["prompt_token_ids"] = job.prompt
    if job.prompt_logprobs:
        scores = await job.weights.generator.when_idle(lambda batch: prompt_logprobs(batch.model, job.prompt))
        table = [None, *({str(i): {"logprob": p, "rank": r}} for i, (p, r) in zip(job.prompt[1:], scores, strict=True))]
        for holder in [answer] if job.is_chat else bodies:
            holder["prompt_logprobs"] = table
    return answer


async def _stream(engine: Engine, job: Job) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the chunks of a streamed answer; ids and log-probabilities ride on the chunk of their own token."""
    kind = "chat.completion.chunk" if job.is_chat else "text_completion"
    splitters = [ToolCallStream() for _ in range(job.num_choices)]
    if job.is_chat:
        for index in range(job.num_choices):
            first = {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
            chunk = {**_head(job, kind), "choices": [{**first, "logprobs": None}]}
            yield chunk | ({"prompt_token_ids": job.prompt} if job.token_ids and index == 0 else {})
    num_sampled = 0
    async with contextlib.aclosing(engine.sample(job)) as pieces:
        async for piece in pieces:
            choice = piece.choice
            num_sampled += 1
            body: dict[str, Any] = {"index": choice.index, "finish_reason": choice.finish_reason}
            body["logprobs"] = _logprobs(engine, job, [piece.token])
            if job.token_ids:
                body["token_ids"] = [piece.token.id]
                if not job.is_chat:
                    body["prompt_token_ids"] = job.prompt if len(choice.ids) == 1 else None
            if job.is_chat:
                body["delta"], body["finish_reason"] = _delta(job, piece, splitters[choice.index])
            else:
                body["text"] = piece.text
            yield {**_head(job, kind), "choices": [body]}
    if job.include_usage:
        yield {**_head(job, kind), "choices": [], "usage": _usage(job, num_sampled)}


def _delta(job: Job, piece: Piece, splitter: ToolCallStream) -> tuple[dict[str, Any], str | None]:
    choice = piece.choice
    content = piece.text
    calls: list[ToolCall] = []
    if job.parse_tools:
        content = splitter.add(piece.text)
        if choice.finish_reason is not None:
            rest, calls = splitter.finish()
            content += rest
    delta: dict[str, Any] = {"content": content} if content else {}
    if calls:
        delta["tool_calls"] = [{"index": index, **call.as_openai()} for index, call in enumerate(calls)]
    return delta, _finish_reason(choice, calls)


# --- HTTP


def make_app(engine: Engine) -> web.Application:
    """Return the engine's HTTP application."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.get("/health", _health),
            web.post("/v1/chat/completions", _handler(engine, is_chat=True)),
            web.post("/v1/completions", _handler(engine, is_chat=False)),
            web.post("/load", _load_handler(engine)),
            web.post("/unload", _unload_handler(engine)),
        ]
    )
    return app


async def _health(_: web.Request) -> web.Response:
    return web.Response()


def _handler(engine: Engine, *, is_chat: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(http: web.Request) -> web.StreamResponse:
        try:
            request = orjson.loads(await http.read())
            if not isinstance(request, dict):
                raise BadConversation("the body is not a JSON object")
            job = read_job(engine, request, is_chat=is_chat)
        except UnknownModel as error:
            return _error(str(error), status=404)
        except ValueError as error:
            return _error(str(error))
        if not job.stream:
            return _json(await _answer_whole(engine, job))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        async with contextlib.aclosing(_stream(engine, job)) as chunks:
            async for chunk in chunks:
                await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    return handle


def _load_handler(engine: Engine) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(http: web.Request) -> web.Response:
        request = await http.json()
        try:
            return _json({"ok": True, "dtype": await engine.load(Path(request["path"]), request["name"])})
        except (OSError, ValueError, RuntimeError) as error:
            return _json({"ok": False, "error": f"{type(error).__name__}: {error}"})

    return handle


def _unload_handler(engine: Engine) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(http: web.Request) -> web.Response:
        engine.unload((await http.json())["name"])
        return _json({"ok": True})

    return handle


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json", status=status)


def _error(message: str, status: int = 400) -> web.Response:
    kind = "BadRequestError" if status < 500 else "InternalServerError"
    return _json({"error": {"message": message, "type": kind, "param": None, "code": status}}, status)


async def _serve(arguments: argparse.Namespace) -> None:
    engine = Engine(arguments.model, arguments.name)
    runner = web.AppRunner(make_app(engine), handler_cancellation=True, access_log=None)
    await runner.setup()
    engine.start()
    await web.UnixSite(runner, arguments.uds).start()
    await asyncio.Event().wait()  # until SIGTERM


def main() -> None:
    """Serve one model on a Unix socket until told to stop."""
    end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--uds", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    # One thread a forward pass: a step of a small model is too short to be worth sharing out.
    torch.set_num_threads(arguments.threads)
    asyncio.run(_serve(arguments))


if __name__ == "__main__":
    main()
