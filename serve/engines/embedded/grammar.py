"""Grammars at work (llguidance): compiled once, then asked before every token what may follow, and told what did.

Compilation runs in one thread of its own: it may take a second, lets go of Python's lock, and what else the engine does
goes on. llguidance bounds its own memory and work; what is beyond that is refused.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from serve.engines.embedded.forms import Form
from serve.sampling import UnsupportedParameter

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_KEPT = 32
"""Compiled grammars that are kept: agents ask for the same form over and over."""

MAX_SAID = 300


class GrammarFailed(UnsupportedParameter):
    """A grammar went beyond the library's bounds while an answer was being sampled."""


class Constraint:
    """What may follow in one answer."""

    def __init__(self, matcher: "LLMatcher", param: str) -> None:
        self._matcher = matcher
        self._param = param

    def fresh(self) -> "Constraint":
        """Return one for another answer, at its beginning."""
        return Constraint(self._matcher.deep_copy(), self._param)

    def mask(self, logits: Tensor) -> Tensor:
        """Return the logits (V) with what may not follow at minus infinity."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little", count=len(logits)).view(bool))
        return logits.masked_fill(~allowed, -torch.inf)

    def take(self, token_id: int) -> bool:
        """Go on by a token; tell whether the answer is complete, raise `GrammarFailed` where the library gives up."""
        self._matcher.consume_token(token_id)
        if said := self._matcher.get_error():
            raise GrammarFailed(self._param, f"asks for a form that cannot be kept to: {_first_line(said)}")

        return self._matcher.is_stopped()


class Grammars:
    """The grammars of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - transformers ships no types
        self._tokenizer = tokenizer
        self._vocabularies: dict[tuple[int, frozenset[int]], LLTokenizer] = {}
        self._compiled: OrderedDict[tuple[str, int, frozenset[int]], Constraint] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "grammar")

    async def compile(self, form: Form, vocabulary_size: int, eos_ids: frozenset[int]) -> Constraint:
        """Return what holds an answer to a form; raise `UnsupportedParameter` where nothing can."""
        work = partial(self.compile_now, form, vocabulary_size, eos_ids)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def compile_now(self, form: Form, vocabulary_size: int, eos_ids: frozenset[int]) -> Constraint:
        """Do so in this thread."""
        key = (form.grammar, vocabulary_size, eos_ids)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile(form, vocabulary_size, eos_ids)
            if len(self._compiled) > MAX_KEPT:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(key)
        return found

    def _compile(self, form: Form, vocabulary_size: int, eos_ids: frozenset[int]) -> Constraint:
        from llguidance import LLMatcher, LLParserLimits

        vocabulary = self._vocabulary(vocabulary_size, eos_ids)
        matcher = LLMatcher(vocabulary, form.grammar, log_level=0, limits=LLParserLimits(verbose_errors=False))
        probe = matcher.deep_copy()
        probe.compute_bitmask()  # what cannot even begin shows here
        if said := probe.get_error():
            raise UnsupportedParameter(form.param, f"asks for a form no answer can be held to: {_first_line(said)}")
        return Constraint(matcher, form.param)

    def _vocabulary(self, size: int, eos_ids: frozenset[int]) -> "LLTokenizer":
        from llguidance import LLTokenizer

        key = (size, eos_ids)
        if key not in self._vocabularies:
            backend = self._tokenizer.backend_tokenizer
            self._vocabularies[key] = LLTokenizer(backend.to_str(), n_vocab=size, eos_token=sorted(eos_ids))
        return self._vocabularies[key]


def special_tokens(tokenizer: Any) -> frozenset[str]:  # noqa: ANN401
    """Return the tokens that stand for no text: a grammar has to name them as tokens."""
    return frozenset(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def _first_line(said: str) -> str:
    return " ".join(said.removesuffix("<non-verbose/>").split())[:MAX_SAID]
