"""Continuous batching over a Transformers model: rows join and leave between steps, each with its own sampling.

The batch is one left-padded key-value cache. What is new of the prompts that join is read and stacked under the
others; a row that ends is taken out. So 32 short requests cost one forward pass a token, not 32, none waits for the
longest, and what many prompts begin with is read once. Transformers' own continuous batching reports log-probabilities
too, but knows one setting of temperature and truncation for a whole batch (5.19), while here every request brings its
own.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from serve.engines.embedded.cache import Memory, Remembered, RowCache, first_tokens
from serve.engines.embedded.grammar import Constraint, GrammarFailed
from serve.sampling import Sampling

CUT_OFF = -9999.0
"""Log-probability that is reported of a token that could not be sampled."""

PREFILL_TOKENS = 8192
"""Padded prompt tokens of one prefill pass; bounds its memory."""


@dataclass
class Row:
    """One sequence being sampled."""

    prompt: list[int]
    sampling: Sampling
    eos_ids: frozenset[int]
    deliver: Callable[["Token"], None]
    """Called for every sampled token, in order."""

    fail: Callable[[Exception], None]
    """Called once, instead of further tokens, when the batch could not go on with this row."""

    constraint: Constraint | None = None
    """What the next token may be, where the answer is held to a form."""

    sampled: list[int] = field(default_factory=list)
    """Ids so far."""

    is_cancelled: bool = False
    """Set by anybody; the row leaves before the next step."""

    generator: torch.Generator | None = None


@dataclass(frozen=True)
class Token:
    """One sampled token."""

    id: int
    logprob: float
    """Natural log-probability under the distribution that was sampled from."""

    top: tuple[tuple[int, float], ...]
    """The likeliest ids and their log-probabilities, as many as were asked for."""

    finish_reason: str | None
    """`stop` at an end-of-sequence token, `length` at the last allowed one, else null."""


def processed_logits(logits: Tensor, sampling: Sequence[Sampling]) -> Tensor:
    """Return the logits of the distribution each row samples from: after temperature and truncation; (B, V) both.

    Temperature first, then top-k, then top-p over what is left, then min-p: the order of vLLM. A greedy row keeps its
    logits as they are.
    """
    temperature = torch.tensor([row.temperature or 1.0 for row in sampling], dtype=logits.dtype)
    logits = logits / temperature[:, None]
    for index, row in enumerate(sampling):
        if row.truncates and row.temperature > 0:
            logits[index] = _truncate(logits[index], row)
    return logits


def _truncate(logits: Tensor, sampling: Sampling) -> Tensor:
    descending, order = logits.sort(descending=True, stable=True)  # (V)
    if 0 < sampling.top_k < len(descending):
        descending[sampling.top_k :] = -torch.inf
    probabilities = descending.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    # The first token always stays: nothing comes before it.
    descending = descending.masked_fill(before >= sampling.top_p, -torch.inf)
    probabilities = descending.softmax(-1)
    descending = descending.masked_fill(probabilities < sampling.min_p * probabilities[0], -torch.inf)
    return torch.empty_like(logits).scatter_(0, order, descending)


def sample(logits: Tensor, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Sample one id a row; return the ids (B) and the log-probabilities of the whole vocabulary (B, V).

    Draws by inverting the cumulative distribution: one number a row, from the row's own generator where it has a seed,
    so that what else is in the batch does not change its answer. What a form forbids has no probability, whatever the
    temperature: that comes after, as in vLLM.
    """
    for index, row in enumerate(rows):
        if row.constraint is not None:
            logits[index] = row.constraint.mask(logits[index])
    logprobs = processed_logits(logits.float(), [row.sampling for row in rows]).log_softmax(-1)
    drawn = torch.rand(len(rows), 1, dtype=torch.float64)
    for index, row in enumerate(rows):
        if row.generator is not None:
            drawn[index].uniform_(generator=row.generator)
    cumulated = logprobs.exp().cumsum(-1, dtype=torch.float64)
    whole = cumulated[:, -1:].contiguous()
    # The first id above what was drawn, so never one without probability; the last that has one, should rounding reach
    # the whole.
    ids = torch.searchsorted(cumulated, drawn * whole, right=True)
    ids = torch.minimum(ids, torch.searchsorted(cumulated, whole)).squeeze(-1)
    is_greedy = torch.tensor([row.sampling.temperature == 0 for row in rows])
    return torch.where(is_greedy, logprobs.argmax(-1), ids), logprobs


@dataclass
class Batch:
    """The rows in flight, their cache, and what is remembered of rows that have ended."""

    model: Any
    rows: list[Row] = field(default_factory=list)
    cache: RowCache = field(default_factory=RowCache)
    memory: Memory = field(default_factory=Memory)
    mask: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))  # (B, T), 0 = padding
    last_ids: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))  # (B)

    def change_model(self, model: Any) -> None:  # noqa: ANN401
        """Put other weights in place. Called while no row is in flight."""
        self.model = model
        self.memory.clear()

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> list[tuple[Row, Token]]:
        """Read the prompts of new rows, each once, stack them under the running rows and sample their first tokens."""
        prompts: dict[tuple[int, ...], list[Row]] = {}
        for row in rows:
            prompts.setdefault(tuple(row.prompt), []).append(row)
            if row.sampling.seed is not None:
                row.generator = torch.Generator().manual_seed(row.sampling.seed % 2**63)
        begin, logits = len(self.rows), []
        for group in _alike([(prompt, *self.memory.find(prompt)) for prompt in prompts]):
            cache, mask, last = self._read(group)
            sources = []
            for place, (prompt, _, _) in enumerate(group):
                sources += [place] * len(prompts[prompt])
                self.rows.extend(prompts[prompt])
                self.memory.add(prompt, cache.remember(place, len(prompt)))
            width = max(mask.shape[1], self.mask.shape[1])
            self.mask = torch.cat([_pad_left(self.mask, width), _pad_left(mask[sources], width)])
            self.cache.append(cache, sources)
            logits.append(last[sources])
        self.last_ids = torch.cat([self.last_ids, torch.zeros(len(rows), dtype=torch.long)])
        return self._sample(torch.cat(logits), range(begin, len(self.rows)))

    def _read(self, group: Sequence["_Prompt"]) -> tuple[RowCache, Tensor, Tensor]:
        """Run the model over what is new of prompts; return cache, mask (B, T) and the logits after the last (B, V).

        Every row has as many columns to compute; one of which more is known computes some of that again.
        """
        columns = max(len(prompt) - known for prompt, known, _ in group)
        used = [max(0, len(prompt) - columns) for prompt, _, _ in group]
        past = max(used)
        ids = torch.zeros(len(group), columns, dtype=torch.long)
        mask = torch.zeros(len(group), past + columns, dtype=torch.long)
        for index, (prompt, _, _) in enumerate(group):
            new = prompt[used[index] :]
            ids[index, columns - len(new) :] = torch.tensor(new)
            mask[index, past + columns - len(prompt) :] = 1
        some = next((held for _, _, held in group if held is not None), None)
        cache = RowCache()
        if past and some is not None:
            pasts = [first_tokens(held or some, length) for (_, _, held), length in zip(group, used, strict=True)]
            cache = RowCache.beginning_with(pasts, past)
        logits = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, past:],
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        return cache, mask, logits

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, Token]]:
        """Sample the next token of every row."""
        positions = self.mask.sum(1, keepdim=True)  # (B, 1)
        self.mask = torch.cat([self.mask, torch.ones(len(self.rows), 1, dtype=torch.long)], dim=1)
        logits = self.model(
            input_ids=self.last_ids[:, None],
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            logits_to_keep=1,
        ).logits[:, -1]
        return self._sample(logits, range(len(self.rows)))

    def _sample(self, logits: Tensor, indices: range) -> list[tuple[Row, Token]]:
        rows = [self.rows[index] for index in indices]
        ids, logprobs = sample(logits, rows)
        chosen = logprobs.gather(1, ids[:, None])[:, 0].tolist()
        self.last_ids[indices.start : indices.stop] = ids
        num_top = max(row.sampling.num_top_logprobs for row in rows)
        top = logprobs.topk(min(num_top, logprobs.shape[1])) if num_top else None
        sampled, finished = [], set()
        for place, (row, token_id, logprob) in enumerate(zip(rows, ids.tolist(), chosen, strict=True)):
            row.sampled.append(token_id)
            reason = None
            try:
                is_over = row.constraint is not None and row.constraint.take(token_id)
            except GrammarFailed as error:
                row.fail(error)
                finished.add(indices.start + place)
                continue
            if (token_id in row.eos_ids and not row.sampling.ignore_eos) or (is_over and _ends_without_token(row)):
                reason = "stop"
            elif len(row.sampled) >= row.sampling.max_tokens:
                reason = "length"
            alternatives: tuple[tuple[int, float], ...] = ()
            if top is not None and row.sampling.num_top_logprobs:
                pairs = zip(top.indices[place].tolist(), top.values[place].tolist(), strict=True)
                # What was cut off has no finite one, and JSON has no infinite; vLLM says the same.
                finite = ((token, max(logprob, CUT_OFF)) for token, logprob in pairs)
                alternatives = tuple(finite)[: row.sampling.num_top_logprobs]
            sampled.append((row, Token(token_id, logprob, alternatives, reason)))
            if reason is not None:
                finished.add(indices.start + place)
        self.drop(finished)
        return sampled

    @torch.inference_mode()
    def drop(self, leaving: set[int]) -> None:
        """Take rows out, and the padding that only they needed; what they read and wrote is remembered."""
        if not leaving:
            return
        for index in leaving:
            row = self.rows[index]
            if not row.is_cancelled:
                # The last token was sampled and never read.
                self.memory.add([*row.prompt, *row.sampled[:-1]], self.cache.remember(index, self._length(index)))
        num_rows = len(self.rows) - len(leaving)
        if not num_rows:
            self.clear()
            return
        staying = iter(index for index in range(num_rows, len(self.rows)) if index not in leaving)
        moves = [(place, next(staying)) for place in sorted(leaving) if place < num_rows]
        order = list(range(num_rows))
        for place, source in moves:
            order[place] = source
        self.rows = [self.rows[index] for index in order]
        mask = self.mask[order]
        padding = int(mask.argmax(1).min())  # columns no row that stays has a token in
        self.mask, self.last_ids = mask[:, padding:], self.last_ids[order]
        self.cache.keep(moves, num_rows, padding)

    def _length(self, index: int) -> int:
        return int(self.mask[index].sum())

    def clear(self) -> None:
        """Take every row out."""
        self.rows, self.cache = [], RowCache()
        self.mask = torch.zeros(0, 0, dtype=torch.long)
        self.last_ids = torch.zeros(0, dtype=torch.long)


_Prompt = tuple[tuple[int, ...], int, Remembered | None]
"""Ids, how many of the first are known, and the text that holds them."""


def _alike(prompts: Sequence[_Prompt]) -> Iterator[list[_Prompt]]:
    """Group prompts of which about as much is new: within a factor of two."""
    ordered = sorted(prompts, key=lambda each: len(each[0]) - each[1])
    for _, group in groupby(ordered, key=lambda each: (len(each[0]) - each[1]).bit_length()):
        yield list(group)


def _ends_without_token(row: Row) -> bool:
    """Tell whether a complete answer is not ended by a token, because there is none or it was to be passed over."""
    return row.sampling.ignore_eos or not row.eos_ids


def _pad_left(mask: Tensor, width: int) -> Tensor:
    return pad(mask, (width - mask.shape[1], 0))


SHORT_PASS_S = 0.02
"""Below this a pass runs on the event loop itself: handing Python's lock back and forth would cost more than it."""


class Generator:
    """Runs one batch as long as there are rows; one task owns it, so nothing here needs a lock."""

    def __init__(self, model: Any, *, max_rows: int = 64) -> None:  # noqa: ANN401
        self._batch = Batch(model)
        self._max_rows = max_rows
        self._waiting: list[Row] = []
        self._calls: list[tuple[Callable[[Batch], Any], asyncio.Future[Any]]] = []
        self._has_work = asyncio.Event()
        self._last_pass_s = 0.0

    def submit(self, row: Row) -> None:
        """Queue a row; its tokens come through `row.deliver`."""
        self._waiting.append(row)
        self._has_work.set()

    async def when_idle(self, call: Callable[[Batch], Any]) -> Any:  # noqa: ANN401
        """Call a function when no row is in flight and return its result; rows that come later wait for it."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.append((call, done))
        self._has_work.set()
        return await done

    async def run(self) -> None:
        """Generate for ever."""
        batch = self._batch
        while True:
            batch.drop({index for index, row in enumerate(batch.rows) if row.is_cancelled})
            self._waiting = [row for row in self._waiting if not row.is_cancelled]
            if batch.rows:
                await self._pass(batch.rows, batch.step)
            elif self._calls:
                await self._answer_call()
            elif not self._waiting:
                self._has_work.clear()
                await self._has_work.wait()
            if self._waiting and not self._calls and len(batch.rows) < self._max_rows:
                group = self._take_group(self._max_rows - len(batch.rows))
                await self._pass([*batch.rows, *group], partial(batch.admit, group))
            await asyncio.sleep(0)  # let requests in and answers out

    async def _pass(self, rows: list[Row], advance: Callable[[], list[tuple[Row, Token]]]) -> None:
        """Run one pass and hand its tokens out; when it fails (out of memory, say) its rows fail, not the engine."""
        began = time.perf_counter()
        try:
            sampled = advance() if self._last_pass_s < SHORT_PASS_S else await asyncio.to_thread(advance)
        except Exception as error:  # noqa: BLE001 - whatever it was, every row concerned hears of it
            self._batch.clear()
            for row in rows:
                row.fail(error)
            return
        self._last_pass_s = time.perf_counter() - began
        for row, token in sampled:
            row.deliver(token)

    async def _answer_call(self) -> None:
        call, done = self._calls.pop(0)
        try:
            result = await asyncio.to_thread(call, self._batch)
        except Exception as error:  # noqa: BLE001 - raised again where it was asked for
            if not done.cancelled():
                done.set_exception(error)
        else:
            if not done.cancelled():
                done.set_result(result)

    def _take_group(self, room: int) -> list[Row]:
        """Take the rows to prefill together: as many as there is room for, within a bound on padded tokens."""
        count, longest, prompts = 0, 0, set[tuple[int, ...]]()
        for row in self._waiting[:room]:
            longest = max(longest, len(row.prompt))
            prompts.add(tuple(row.prompt))
            if count and longest * len(prompts) > PREFILL_TOKENS:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group


@torch.inference_mode()
def prompt_logprobs(model: Any, ids: list[int]) -> list[tuple[float, int]]:  # noqa: ANN401
    """Return log-probability (temperature 1) and rank (from 1) of every id but the first, given those before it."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].float()  # (T-1, V)
    logprobs = logits.log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(ids[1:])[:, None])  # (T-1, 1)
    ranks = (logprobs > chosen).sum(1) + 1
    return list(zip(chosen[:, 0].tolist(), ranks.tolist(), strict=True))
