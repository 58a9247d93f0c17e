"""The model in training: opened from a directory, run over a micro-batch."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import Linear, Module
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging as transformers_logging

from foundation.errors import SettingsError
from foundation.narration import get_logger
from train.data.lineage import UNTRAINED, Sequence, Start
from train.engine.adapters import open_adapter
from train.engine.attention import PACKED
from train.engine.logprob import find_kept, token_logprobs
from train.engine.pack import collate
from train.engine.sharing import SHORTEST_SHARED
from train.engine.truncation import Kept, Limits
from train.schema import base_of

log = get_logger("train")

HEAD_TOLERANCE = 1e-3
"""Largest difference, in nats, between our log-probabilities and those of the model's own logits, in float32."""

HALF_TOLERANCE = 0.1
"""The same where weights are in half precision, which rounds logits to eight bits."""

ONE_THREAD_PARAMETERS = 10_000_000
"""Below this many parameters a second CPU thread brings little on an idle machine, and beside other work it makes every
operation wait for the slower of the two: a night of the demo took 19 s of CPU with one thread and 230 s with two."""


def load_policy(model: Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Open a model or adapter directory in one precision, dropout off.

    That our log-probabilities are the model's own is checked. An adapter is opened over the base its manifest names.
    """
    transformers_logging.disable_progress_bar()
    base = base_of(model)
    try:
        policy: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            base or model, dtype=dtype, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise SettingsError(f"transformers cannot open {base or model}: {error}") from error
    if base is not None:
        open_adapter(policy, model)
    policy.eval()  # dropout would make the ratio of an unchanged policy differ from 1
    policy.config.use_cache = False
    if policy.num_parameters() < ONE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    _choose_attention(policy)
    return policy


def packs(policy: PreTrainedModel) -> bool:
    """Tell whether a model may be given several sequences in one row."""
    return bool(policy.config._attn_implementation == PACKED)  # noqa: SLF001 - where transformers keeps it


def shares(policy: PreTrainedModel) -> bool:
    """Tell whether sequences in a row may share what they begin with. On GPUs they do not: no kernel was tried."""
    return packs(policy) and policy.device.type == "cpu"


def save_activations(policy: PreTrainedModel) -> None:
    """Keep only what enters each layer for the backward pass, which computes the rest anew.

    The layers alone are told that they train, not the dropout within them.
    """
    if not policy.supports_gradient_checkpointing:
        raise SettingsError(f"{policy.config.model_type} models have no gradient checkpointing in transformers")
    policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for module in policy.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


class SampledTokens(Module):
    """A causal language model that answers with log-probabilities of chosen tokens instead of logits of all.

    A module, so that data-parallel wrappers see one forward call per backward call. It also holds the token critic,
    where there is one.
    """

    def __init__(self, policy: PreTrainedModel, value_head: Linear | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.value_head = value_head
        self._no_split_modules = policy._no_split_modules  # noqa: SLF001 - where Accelerate looks for what to shard by

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        boundaries: Tensor,
        longest: int,
        at: Tensor,
        targets: Tensor,
        temperature: Tensor,
        parents: Tensor | None = None,
        kept: Kept | None = None,
        limits: Limits | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None] | Kept:
        """Return log-probabilities and entropies of `targets`, each predicted at position `at` of a packed row.

        And, with a token critic, the value of the state at that position; its gradient ends there. `kept` are the sets
        that were left to sample from, where they were cut; with `limits` these are what is returned.
        """
        body, head = self.policy.get_decoder(), self.policy.get_output_embeddings()
        hidden = body(
            input_ids=input_ids,
            position_ids=position_ids,
            use_cache=False,
            cu_seq_lens_q=boundaries,
            cu_seq_lens_k=boundaries,
            max_length_q=longest,
            max_length_k=longest,
            **({} if parents is None else {"parents": parents}),
        ).last_hidden_state
        chosen = hidden.squeeze(0).index_select(0, at)  # (token, hidden)
        if limits is not None:
            return find_kept(chosen, head, targets, temperature, limits)
        return *token_logprobs(chosen, head, targets, temperature, kept=kept), self._values(chosen.detach())

    def _values(self, states: Tensor) -> Tensor | None:
        if self.value_head is None:
            return None
        with torch.autocast(states.device.type, enabled=False):  # values are small differences of large sums
            values: Tensor = self.value_head(states.to(self.value_head.weight.dtype)).squeeze(-1)
        return values.clone()  # `fully_shard` wants no views


@torch.no_grad()
def _choose_attention(policy: PreTrainedModel) -> None:
    """Let sequences share a row where that changes nothing, and refuse architectures whose logits are not the head's.

    Both are tried rather than looked up: state-space layers carry over from one sequence to the next, soft caps and
    scales change logits after the head.
    """
    usual = policy.config._attn_implementation  # noqa: SLF001
    num_ids = policy.get_input_embeddings().num_embeddings
    sequences = [torch.arange(begin, begin + length) % num_ids for begin, length in ((1, 9), (3, 5), (2, 5))]
    common = torch.arange(SHORTEST_SHARED) % num_ids
    sequences += [torch.cat([common, torch.arange(begin, begin + 3) % num_ids]) for begin in (4, 6)]
    theirs = torch.cat([_own_logprobs(policy, ids) for ids in sequences])
    tolerance = HALF_TOLERANCE if policy.dtype in (torch.bfloat16, torch.float16) else HEAD_TOLERANCE
    try:
        policy.set_attn_implementation(PACKED)
        if _difference(theirs, _our_logprobs(policy, sequences, shared=True)) <= tolerance:
            return
    except (NotImplementedError, ValueError, TypeError) as error:  # what models raise that know no other attention
        log.debug("no packed attention", reason=str(error))
    policy.set_attn_implementation(usual)
    difference = _difference(theirs, torch.cat([_our_logprobs(policy, [ids]) for ids in sequences]))
    if difference > tolerance:
        raise SettingsError(
            f"{policy.config.model_type} models change their logits after the head (difference {difference:.3g} nats)",
            hint="Such an architecture cannot be trained yet; qwen, llama and mistral families can.",
        )
    log.warning("sequences of this architecture cannot share a forward pass; each gets its own", attention=usual)


def _own_logprobs(policy: PreTrainedModel, ids: Tensor) -> Tensor:
    logits = policy(input_ids=ids[None]).logits[0, :-1].float()
    logprobs: Tensor = logits.log_softmax(-1).gather(-1, ids[1:, None]).squeeze(-1)
    return logprobs


def _our_logprobs(policy: PreTrainedModel, sequences: list[Tensor], *, shared: bool = False) -> Tensor:
    calls = [np.where(np.arange(len(ids)) > 0, index, UNTRAINED) for index, ids in enumerate(sequences)]
    chosen = [
        Sequence(ids.numpy(), call, np.zeros(len(ids), np.float32), Start.FIRST)
        for ids, call in zip(sequences, calls, strict=True)
    ]
    ones = np.ones(len(sequences))
    batch = collate(chosen, ones, ones, device=policy.device, shared=shared)
    logprobs: Tensor
    logprobs, _, _ = SampledTokens(policy)(*batch.inputs)
    return logprobs.float()


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
