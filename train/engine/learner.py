"""What an update computes with: the wrapped model, its optimiser, the plan, and this process's share of the work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from train.data.lineage import Sequence
from train.engine.objective import Objective
from train.engine.pack import MicroBatch, collate
from train.engine.policy import SampledTokens, packs, shares
from train.engine.sharing import plan_batches
from train.engine.truncation import Kept, Limits
from train.losses.sampled import Sampled
from train.plan import Plan
from train.settings import TOKENS_PER_BATCH, TrainConfig


@dataclass(frozen=True)
class Learner:
    """The model as the accelerator wrapped it, its optimiser, and the plan they follow."""

    accelerator: Accelerator
    tokens: torch.nn.Module
    """`train.engine.policy.SampledTokens` over the model."""

    optimizer: torch.optim.Optimizer
    plan: Plan
    config: TrainConfig

    @cached_property
    def objective(self) -> Objective:
        """What the tokens are trained for."""
        return Objective(self.plan, self.config, device=self.accelerator.device)

    @cached_property
    def weights(self) -> list[Tensor]:
        """The weights that are trained: the adapter's where there is one."""
        return [weight for weight in self.tokens.parameters() if weight.requires_grad]

    @cached_property
    def weights_of_critic(self) -> list[Tensor]:
        """Those of them that are the token critic's; none without one."""
        inner = self.accelerator.unwrap_model(self.tokens)
        assert isinstance(inner, SampledTokens)
        return [] if inner.value_head is None else list(inner.value_head.parameters())

    @cached_property
    def tokens_per_batch(self) -> int:
        """Budget of a forward pass; 1, and so a sequence a pass, for models that cannot take several."""
        inner = self.accelerator.unwrap_model(self.tokens)
        assert isinstance(inner, SampledTokens)
        return (self.config.tokens_per_batch or TOKENS_PER_BATCH) if packs(inner.policy) else 1

    @cached_property
    def shares(self) -> bool:
        """Tell whether sequences in a row share what they begin with."""
        inner = self.accelerator.unwrap_model(self.tokens)
        assert isinstance(inner, SampledTokens)
        return shares(inner.policy)

    def prepare(self) -> None:
        """Find out what the model the run begins with makes of the calls; to be called before the first update."""
        self.objective.set_kept(self._find_kept())
        if self.objective.needs_reference:
            self.objective.set_reference(self.score(self.plan.sequences))
        if self.plan.hindsight:
            self.objective.set_hindsight(self.score(self.plan.hindsight))

    def score(self, sequences: list[Sequence]) -> Float[Tensor, " place"]:
        """Return the log-probabilities of the moment of the trained tokens of sequences, by place; 0 elsewhere."""
        return self._by_place(sequences, lambda logprobs, _values: logprobs)

    def score_values(self) -> Float[Tensor, " place"]:
        """Return the token critic's values of the moment of the states before all trained tokens, by place."""
        return self._by_place(self.plan.sequences, lambda _logprobs, values: values)

    @torch.no_grad()
    def _by_place(
        self, sequences: list[Sequence], choose: Callable[[Tensor, Tensor], Tensor]
    ) -> Float[Tensor, " place"]:
        scores = torch.zeros(self.objective.num_tokens, device=self.accelerator.device)
        for batch, counts in self.share(sequences):
            with self.accelerator.autocast():
                logprobs, _, values = self.tokens(*batch.inputs)
            if counts:
                scores[self.objective.positions(batch.calls)] = choose(logprobs, values).float()
        self.reshard()
        total: Tensor = self.accelerator.reduce(scores, "sum")
        return total

    def reshard(self) -> None:
        """Let go of gathered weights; to be called after forward passes without a backward pass.

        The outermost module keeps them otherwise: the next pass would not see weights that were set meanwhile, and
        `weights`, first asked for then, would be of what is about to be freed.
        """
        for module in self.tokens.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    @torch.no_grad()
    def _find_kept(self) -> Kept | None:
        """Return what was left to sample each trained token from, by place, as the weights of the moment cut it."""
        calls = self.plan.logged.calls
        if all(call.truncation is None or call.set_aside is not None for call in calls):
            return None
        device = self.accelerator.device
        limits = Limits.of([call.truncation for call in calls], device=device)
        found: list[tuple[Tensor, Kept]] = []
        for batch, counts in self.share([*self.plan.sequences, *self.plan.heldout]):
            with self.accelerator.autocast():
                kept = self.tokens(*batch.inputs[:-1], None, limits[batch.calls])
            if counts:
                found.append((self.objective.positions(batch.calls).cpu(), Kept(kept.sizes.cpu(), kept.ids.cpu())))
        self.reshard()
        if self.accelerator.num_processes > 1:
            found = gather_object(found)
        places = torch.cat([place for place, _ in found])
        joined = Kept.joined([kept for _, kept in found])
        where = torch.zeros(self.objective.num_tokens, dtype=torch.int64)
        where[places] = torch.arange(len(places))  # one without a place is never asked for
        ordered = joined[where]
        return Kept(ordered.sizes.to(device), ordered.ids.to(device))

    def share(self, sequences: list[Sequence]) -> Iterator[tuple[MicroBatch, bool]]:
        """Yield this process's micro-batches, and whether each counts.

        Every process gets equally many, the last ones perhaps only for company: wrappers wait for one another.
        """
        shared = self.shares
        batches = plan_batches([sequence.ids for sequence in sequences], self.tokens_per_batch, shared=shared)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        for turn in range(-(-len(batches) // world)):
            index = turn * world + rank
            chosen = batches[index] if index < len(batches) else batches[0]
            batch = collate(
                [sequences[member] for member in chosen],
                self.plan.temperature,
                self.plan.advantages,
                device=self.accelerator.device,
                shared=shared,
            )
            yield replace(batch, kept=self.objective.kept_of(batch.calls)), index < len(batches)

    def sample(self, batch: MicroBatch) -> tuple[Sampled, Tensor]:
        """Run the model over a micro-batch; return its sampled tokens and their entropies."""
        with self.accelerator.autocast():
            policy_logprobs, entropies, values = self.tokens(*batch.inputs)
        return self.objective.sampled(policy_logprobs, batch, values), entropies


def local(weight: Tensor) -> Tensor:
    """Return the part of a weight this process holds: all of it, unless it is sharded."""
    part: Tensor = weight.to_local() if hasattr(weight, "to_local") else weight
    return part
