"""State a killed run goes on from, to the very weights it would have had.

    OUT/.resume-<fingerprint>/lock                         held by the run
    OUT/.resume-<fingerprint>/state-<epoch>-<position>/    weights, optimiser, random numbers; progress.json last

A state is written under a hidden name and renamed when everything in it is on disk; only then the one before goes. The
directory is removed when the checkpoint is published. The fingerprint is that of everything the result depends on: a
run with other settings or data finds nothing to go on from.
"""

import contextlib
import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import save as save_state

from foundation.errors import SpanloopError
from foundation.files import exclusive, sync_directory, write_json
from foundation.narration import get_logger
from train.engine.checkpoint import sync_files
from train.engine.learner import Learner

log = get_logger("train")

ABANDONED_AFTER_S = 7 * 24 * 3600
"""Age from which the state of another run is taken for forgotten, and removed."""

PROGRESS = "progress.json"

OPTIONS = StateDictOptions(ignore_frozen_params=True)
"""The base of an adapter is where it was; only what is trained is kept."""


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    position: int = 0
    """Updates of this epoch that are through, those without anything to learn among them."""

    num_updates: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Metrics of the updates that stand."""

    pending: list[dict[str, Any]] = field(default_factory=list)
    """Metrics of the updates since the last check, which may yet be taken back."""

    distance: float = 0.0
    """Of the last check from where the run began, nats a call."""

    rate: float = 1.0
    """What the learning rate is multiplied by."""

    evidence: float | None = None
    """How sure the first pass of `standout` was that there is anything to learn, 0 to 1."""

    num_undone: int = 0
    """Updates that were undone because they were not finite."""

    num_setbacks: int = 0
    """Checks in a row after which nothing could be kept."""

    heldout_losses: list[float] = field(default_factory=list)
    """At tasks kept out of training, before the first pass and after each; empty where none are."""


def fingerprint(facts: dict[str, Any]) -> str:
    """Return a short digest of whatever a run's result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass
class Keeper:
    """Keeps the state of one run in its directory, now and then."""

    directory: Path
    interval_s: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Start the first interval."""
        self._kept = self.clock()

    @contextlib.contextmanager
    def hold(self, *, is_main: bool) -> Iterator[None]:
        """Hold the run's lock while the block runs; `Busy` when another process trains the same."""
        if not is_main:
            yield
            return
        with exclusive(self.directory / "lock", purpose="spanloop train run"):
            try:
                yield
            finally:
                if not self._states():
                    shutil.rmtree(self.directory)

    def load(self, learner: Learner) -> tuple[Progress, list[Tensor], list[Tensor] | None] | None:
        """Put weights, optimiser and random numbers back where they were kept last; None when nothing was kept.

        Returns the progress, the weights of the last check, and those of the best pass where passes are compared.
        """
        states = self._states()
        if not states:
            return None
        state = states[-1]
        try:
            progress = Progress(**json.loads((state / PROGRESS).read_bytes()))
            start = [torch.empty_like(weight, device="cpu") for weight in _local(learner)]
            best = [torch.empty_like(weight) for weight in start] if progress.heldout_losses else None
            kept = _describe(learner, start, best)
            with _alone():
                load_state(kept, checkpoint_id=state)
        except (ValueError, TypeError, OSError, CheckpointException) as error:
            raise SpanloopError(
                f"{state} cannot be gone on from: {error}", hint="Remove it, or start anew with --no-resume."
            ) from error
        set_state_dict(
            learner.tokens,
            _plain(learner),
            model_state_dict=kept["weights"],
            optim_state_dict=kept["optimizer"],
            options=StateDictOptions(ignore_frozen_params=True, strict=False),  # else the frozen ones are missed
        )
        if learner.config.token_critic:
            learner.objective.set_values(kept["values"])
        torch.set_rng_state(kept[_own("rng", learner)])
        if learner.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(kept[_own("cuda_rng", learner)])
        log.info("going on", epoch=progress.epoch, updates=progress.num_updates + len(progress.pending))
        return (
            progress,
            list(kept[_point("start", learner)].values()),
            None if best is None else list(kept[_point("best", learner)].values()),
        )

    def keep_if_due(
        self, learner: Learner, progress: Progress, start: list[Tensor], best: list[Tensor] | None = None
    ) -> None:
        """Keep the state when the interval has passed."""
        is_due = [self.clock() - self._kept >= self.interval_s]
        if learner.accelerator.num_processes > 1:
            broadcast_object_list(is_due)
        if is_due[0]:
            self.keep(learner, progress, start, best)
            self._kept = self.clock()

    def keep(self, learner: Learner, progress: Progress, start: list[Tensor], best: list[Tensor] | None = None) -> None:
        """Keep the state now; all processes take part."""
        partial = self.directory / ".partial"
        is_main = learner.accelerator.is_main_process
        if is_main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        learner.accelerator.wait_for_everyone()
        try:
            with _alone():
                save_state(_describe(learner, start, best), checkpoint_id=partial)
        except (OSError, CheckpointException) as error:  # raised on every process alike
            log.warning("state not kept: a kill would cost the updates since the last one", reason=str(error)[:200])
            if is_main:
                shutil.rmtree(partial, ignore_errors=True)
            learner.accelerator.wait_for_everyone()
            return
        if is_main:
            write_json(partial / PROGRESS, asdict(progress))
            sync_files(partial)
            older = self._states()
            partial.rename(self.directory / f"state-{progress.epoch:06}-{progress.position:06}")
            sync_directory(self.directory)
            for path in older:
                shutil.rmtree(path)
        learner.accelerator.wait_for_everyone()

    def forget(self) -> None:
        """Remove everything kept: the checkpoint is published, or there will be none."""
        for state in self._states():
            shutil.rmtree(state, ignore_errors=True)

    def _states(self) -> list[Path]:
        return sorted(self.directory.glob("state-*"))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let a run of one process keep its state without being told that it is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def sweep(out: Path, *, now_s: float) -> None:
    """Remove the states of runs nobody came back to."""
    for path in out.glob(".resume-*"):
        if now_s - max(child.stat().st_mtime for child in (path, *path.iterdir())) > ABANDONED_AFTER_S:
            shutil.rmtree(path)
            log.info("removed the state of a run nobody came back to", path=str(path))


def _describe(learner: Learner, start: list[Tensor], best: list[Tensor] | None) -> dict[str, Any]:
    """Return everything that is kept beside the progress, under the names it is kept by."""
    weights, optimizer = get_state_dict(learner.tokens, _plain(learner), options=OPTIONS)
    state = {
        "weights": weights,
        "optimizer": optimizer,
        _point("start", learner): {str(index): weight for index, weight in enumerate(start)},
        _own("rng", learner): torch.get_rng_state(),
    }
    if best is not None:
        state[_point("best", learner)] = {str(index): weight for index, weight in enumerate(best)}
    if learner.config.token_critic:
        state["values"] = learner.objective.values
    if learner.accelerator.device.type == "cuda":
        state[_own("cuda_rng", learner)] = torch.cuda.get_rng_state()
    return state


def _plain(learner: Learner) -> torch.optim.Optimizer:
    """Return the optimiser inside the accelerator's wrapper."""
    inner: torch.optim.Optimizer = getattr(learner.optimizer, "optimizer", learner.optimizer)
    return inner


def _local(learner: Learner) -> list[Tensor]:
    return [getattr(weight, "_local_tensor", weight) for weight in learner.weights]


def _own(name: str, learner: Learner) -> str:
    return f"{name}_{learner.accelerator.process_index}"


def _point(name: str, learner: Learner) -> str:
    """Return the name of weights that may be gone back to: of each process where they are sharded, else of all."""
    is_sharded = any(hasattr(weight, "to_local") for weight in learner.weights)
    return _own(name, learner) if is_sharded else name
