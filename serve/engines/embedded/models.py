"""The models of the embedded engine, and what they sample: ids, text and log-probabilities, token by token.

Knows requests once they are understood (`Job`), and nothing of HTTP or of the shape answers have.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer

from serve.engines.adapters import adapter_base
from serve.engines.embedded.cache import choose_attention
from serve.engines.embedded.forms import Form
from serve.engines.embedded.generation import Batch, Generator, Row, Token
from serve.engines.embedded.grammar import Constraint, Grammars, special_tokens
from serve.sampling import Sampling


def load_model(path: Path) -> Any:  # noqa: ANN401 - transformers ships no types
    """Open a model directory: safetensors only, no code of its own.

    In the checkpoint's own precision, but in float32 where that is half a precision this processor has no instructions
    for: it would take several times as long. The weights of an adapter directory are those of its base with the adapter
    merged into them.
    """
    base = adapter_base(path)
    model = AutoModelForCausalLM.from_pretrained(
        base or path, dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    if model.dtype == torch.float16 or (model.dtype == torch.bfloat16 and not _computes_in_bfloat16()):
        model = model.float()
    if base is not None:
        model = _merge(model, path)
    model.eval()
    choose_attention(model)
    if getattr(model, "_is_stateful", False):
        raise ValueError(f"{type(model).__name__} keeps recurrent state, which the embedded engine cannot batch")
    return model


def _computes_in_bfloat16() -> bool:
    """Tell whether this processor has instructions for bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001


def _merge(model: Any, adapter: Path) -> Any:  # noqa: ANN401
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ValueError("adapters need PEFT: pip install 'spanloop[serve]'") from error
    return PeftModel.from_pretrained(model, adapter, local_files_only=True).merge_and_unload(safe_merge=True)


@dataclass
class GrowingAnswer:
    """One answer as it grows."""

    index: int
    prompt: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None


@dataclass(frozen=True)
class Piece:
    """What one sampled token added to a choice."""

    choice: GrowingAnswer
    token: Token
    text: str


@dataclass(frozen=True)
class Job:
    """A request, understood."""

    id: str
    is_chat: bool
    model: str
    weights: "Weights"
    prompts: list[list[int]]
    """One, but for plain completions of several."""

    sampling: Sampling
    num_choices: int
    """For each prompt; those of one prompt stand together."""

    stream: bool
    include_usage: bool
    logprobs: bool
    token_ids: bool
    prompt_logprobs: bool
    parse_tools: bool
    created: int
    form: Form | None = None
    """What the answer is to be held to."""

    is_named: bool = False
    """Whether the request names the one tool to be called."""

    constraint: Constraint | None = None
    """The form compiled: `Sampler.compile` adds it."""


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


class Sampler:
    """One tokenizer, and models of any number of names that share it."""

    def __init__(self, model_path: Path, name: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True, trust_remote_code=False)
        self.special_tokens = special_tokens(self.tokenizer)
        self._grammars = Grammars(self.tokenizer)
        self._models = {name: self._describe(model_path, load_model(model_path))}
        self._ended: asyncio.Queue[BaseException] = asyncio.Queue()

    def _describe(self, path: Path, model: Any) -> Weights:  # noqa: ANN401
        return Weights(
            path,
            max_length=int(getattr(model.config, "max_position_embeddings", 4096)),
            vocabulary_size=int(model.config.vocab_size),
            eos_ids=_eos_ids(model, self.tokenizer),
            generator=Generator(model),
        )

    @property
    def names(self) -> list[str]:
        """The names something answers to, the oldest first."""
        return list(self._models)

    def start(self) -> None:
        """Run the batches of the models there are."""
        for weights in self._models.values():
            self._run(weights)

    def _run(self, weights: Weights) -> None:
        def note_end(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._ended.put_nowait(error)

        weights.running = asyncio.create_task(weights.generator.run())
        weights.running.add_done_callback(note_end)

    async def failed(self) -> NoReturn:
        """Wait until a batch can go on no more, and raise what stopped it: nobody's call would ever be answered."""
        raise await self._ended.get()

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
            self._run(weights)
        else:

            def put_in_place(batch: Batch) -> None:
                batch.change_model(model)

            await weights.generator.when_idle(put_in_place)
            weights.path = path
        return str(model.dtype).removeprefix("torch.")

    def unload(self, name: str) -> None:
        """Forget a model. Called when none of its rows is in flight."""
        weights = self._models.pop(name, None)
        if weights is not None and weights.running is not None:
            weights.running.cancel()

    async def compile(self, job: Job) -> Job:
        """Return the job with its form compiled; raise `UnsupportedParameter` for one no answer can be held to."""
        if job.form is None:
            return job
        weights = job.weights
        constraint = await self._grammars.compile(job.form, weights.vocabulary_size, weights.eos_ids)
        return replace(job, constraint=constraint)

    async def sample(self, job: Job) -> AsyncGenerator[Piece, None]:
        """Yield every sampled token of every choice as it comes; leaving early takes the rows out of the batch."""
        pieces: asyncio.Queue[tuple[int, Token] | Exception] = asyncio.Queue()

        def deliver(index: int, token: Token) -> None:
            pieces.put_nowait((index, token))

        prompts = [prompt for prompt in job.prompts for _ in range(job.num_choices)]
        choices = [GrowingAnswer(index, prompt) for index, prompt in enumerate(prompts)]
        rows = [
            Row(
                choice.prompt,
                _own_sampling(job, choice),
                job.weights.eos_ids,
                deliver=partial(deliver, choice.index),
                fail=pieces.put_nowait,
                constraint=None if job.constraint is None else job.constraint.fresh(),
            )
            for choice in choices
        ]
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


def _own_sampling(job: Job, choice: GrowingAnswer) -> Sampling:
    """Give a choice no more tokens than its prompt leaves room for, and a seed of its own among those of its prompt."""
    seed = None if job.sampling.seed is None else job.sampling.seed + choice.index % job.num_choices
    room = job.weights.max_length - len(choice.prompt)
    return replace(job.sampling, seed=seed, max_tokens=min(job.sampling.max_tokens, room))


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
