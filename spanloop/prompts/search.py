"""The search itself: GEPA's, driven by what was logged for the live prompt and by replay for every child of it.

GEPA: Agrawal et al. 2025, arXiv:2507.19457. A model reflects on a few conversations and their scores and writes a
child, which is kept where its sum over the same conversations is higher; parents are drawn from the Pareto front.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import SettingsError
from foundation.narration import get_logger
from serve.prompts.schema import Template
from spanloop.prompts.logged import Case
from spanloop.prompts.reflection import Reflection, shown
from spanloop.replay.scoring import Score
from spanloop.replay.states import State
from spanloop.replay.trial import Trial, recorded

log = get_logger("prompts")

NAME = "system"
AT_ONCE = 4
"""States a child is first tried on."""

BATCHES = 20
"""Batches a proposal may cost: a search in which all goes well asks nobody, and has to end all the same."""

Attempt = Callable[[Sequence[State]], Trial]
"""Replays states, as they are, and scores them."""


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    text: str | None
    """The best child; null where none was better than the live prompt."""

    num_candidates: int
    num_replayed: int


class Adapter:
    """What GEPA asks of the system it improves."""

    propose_new_texts = None

    def __init__(self, live: Template, attempt: Attempt, score: Score, *, worst: float) -> None:
        self._live = live
        self._attempt = attempt
        self._score = score
        self._worst = worst
        self.num_replayed = 0
        self.num_batches = 0

    def evaluate(self, batch: list[Case], candidate: dict[str, str], capture_traces: bool = False) -> Any:  # noqa: ANN401, ARG002
        """Score states under a prompt: the live one by what was logged, any other by replay."""
        from gepa.core.adapter import EvaluationBatch

        self.num_batches += 1
        prompt = Template(candidate[NAME], self._live.is_template)
        is_logged = prompt.text == self._live.text and all(case.is_live for case in batch)
        if is_logged:
            trial = recorded([case.state for case in batch], self._score)
        else:
            trial = self._attempt([case.under(prompt) for case in batch])
            self.num_replayed += len(batch)
        # What nobody can tell the worth of is not better than anything.
        scores = [self._worst if score is None else score for score in trial.scores]
        told = [shown(each, score) for each, score in zip(trial.replays, trial.scores, strict=True)]
        return EvaluationBatch(
            outputs=[None] * len(batch),
            scores=scores,
            trajectories=told,
            num_metric_calls=0 if is_logged else len(batch),
        )

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],  # noqa: ARG002 - what GEPA calls it with
        eval_batch: Any,  # noqa: ANN401
        components_to_update: list[str],
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the conversations a proposal is to be made from."""
        return dict.fromkeys(components_to_update, eval_batch.trajectories)


class Quiet:
    """GEPA's own log: it quotes prompts and traces."""

    def log(self, message: str) -> None:
        """Leave it out."""


def search(
    learned: Sequence[Case],
    chosen: Sequence[Case],
    live: Template,
    attempt: Attempt,
    score: Score,
    reflection: Reflection,
    *,
    calls: int,
    seed: int,
) -> Found:
    """Look for a prompt that earns more; children are made from `learned` and compared on `chosen`."""
    try:
        from gepa.api import optimize
    except ImportError as error:
        raise SettingsError("looking for prompts needs gepa", hint="pip install 'spanloop[prompts]'") from error
    logged = [each for each in recorded([case.state for case in [*learned, *chosen]], score).scores if each is not None]
    adapter = Adapter(live, attempt, score, worst=min(logged, default=0.0))

    def propose(
        candidate: dict[str, str], dataset: Mapping[str, Sequence[Mapping[str, Any]]], names: list[str]
    ) -> dict[str, str]:
        return {name: reflection.propose(candidate[name], dataset[name]) for name in names}

    run: Any = optimize  # its protocols ask for more than it calls
    result = run(
        seed_candidate={NAME: live.text},
        trainset=list(learned),
        valset=list(chosen),
        adapter=adapter,
        custom_candidate_proposer=propose,
        reflection_minibatch_size=min(AT_ONCE, len(learned)),
        # Where all earned alike nothing shows what the best would be.
        perfect_score=max(logged) if len(set(logged)) > 1 else math.inf,
        max_metric_calls=calls,
        stop_callbacks=[lambda _: reflection.is_over or adapter.num_batches > BATCHES * reflection.most],
        logger=Quiet(),
        track_best_outputs=False,
        seed=seed,
    )
    best = result.val_aggregate_scores[result.best_idx]
    is_better = best > result.val_aggregate_scores[0]
    log.info("searched", candidates=result.num_candidates, asked=reflection.num_asked, replayed=adapter.num_replayed)
    text = result.candidates[result.best_idx][NAME] if is_better else None
    return Found(text, result.num_candidates, adapter.num_replayed)
