"""The model in training: opened from a directory, run over a micro-batch."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from foundation.errors import SettingsError
from train.logprob import token_logprobs

HEAD_TOLERANCE = 1e-3
"""Largest difference, in nats, between our log-probabilities and those of the model's own logits."""

ONE_THREAD_PARAMETERS = 10_000_000
"""Below this many parameters a second CPU thread brings little on an idle machine, and beside other work it makes every
operation wait for the slower of the two: a night of the demo took 19 s of CPU with one thread and 230 s with two."""


def load_policy(model: Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Open a model directory in one precision, dropout off, and check that our log-probabilities are the model's."""
    transformers_logging.disable_progress_bar()
    try:
        policy: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"transformers cannot open {model}: {error}") from error
    policy.eval()  # dropout would make the ratio of an unchanged policy differ from 1
    policy.config.use_cache = False
    if policy.num_parameters() < ONE_THREAD_PARAMETERS:
        torch.set_num_threads(1)
    _check_head(policy)
    return policy


class SampledTokens(Module):
    """A causal language model that answers with log-probabilities of chosen tokens instead of logits of all.

    A module, so that data-parallel wrappers see one forward call per backward call.
    """

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.policy = policy

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, at: Tensor, targets: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies of `targets`, each predicted at flat position `at`."""
        body, head = self.policy.get_decoder(), self.policy.get_output_embeddings()
        hidden = body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        chosen = hidden.flatten(0, 1).index_select(0, at)  # (token, hidden)
        return token_logprobs(chosen, head, targets, temperature, vocabulary_size=head.out_features)


@torch.no_grad()
def _check_head(policy: PreTrainedModel) -> None:
    """Refuse architectures that do more to the logits than the head does: soft caps, scales."""
    ids = torch.arange(1, 9).unsqueeze(0) % policy.get_input_embeddings().num_embeddings
    ones = torch.ones_like(ids)
    ours, _ = SampledTokens(policy)(ids, ones, torch.arange(7), ids[0, 1:], torch.ones(7))
    theirs = policy(input_ids=ids, attention_mask=ones).logits[0, :-1].float().log_softmax(-1)
    difference = (ours - theirs.gather(-1, ids[0, 1:, None]).squeeze(-1)).abs().max().item()
    if difference > HEAD_TOLERANCE:
        raise SettingsError(
            f"{policy.config.model_type} models change their logits after the head (difference {difference:.3g} nats)",
            hint="Such an architecture cannot be trained yet; qwen, llama and mistral families can.",
        )
