"""One candidate tried on logged states: replayed, scored, and compared with what was recorded.

For callers in Python, such as an optimiser of prompts that scores every child so:

    states = read_states(data, agents=("solver",), split="train", tools_from="task", limit=100)
    score = by_outcomes(states)                      # or by_sql(directory, data), by_judge(ask), by_checks
    with opened("http://127.0.0.1:8000/v1", replay="prompts") as ask:     # or a checkpoint directory
        trial = attempt(states, ask, score, system="You are ...", seed=7)
    trial.scores                                     # one a state, in order; null where nobody can tell
    trial.replays[0].end, trial.replays[0].messages  # how it ended, and the conversation, to reflect on
    interval(trial.tasks, ...)                       # or trial.mean, with its bootstrap interval over tasks
    compare(before.replays, trial.replays, (before.scores, trial.scores))  # paired difference, with a verdict

`recorded(states, score)` is the same of what was logged, and asks nobody. Two trials of the same states are compared
state by state, so the noise that tasks differ by falls out. What is asked is marked (`spanloop.replay`) and never
becomes a transition. Text that comes back is data: quote it where a model is to read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spanloop.replay.asking import Ask
from spanloop.replay.comparison import Interval, interval
from spanloop.replay.episode import Replayed, as_recorded, replay_all
from spanloop.replay.scoring import Score
from spanloop.replay.states import State


@dataclass(frozen=True)
class Trial:
    """Replays and their scores, in the order of the states."""

    replays: list[Replayed]
    scores: list[float | None]
    seed: int = 0

    @property
    def tasks(self) -> list[str]:
        """Task of each state: what is drawn whole in an interval."""
        return [each.state.task for each in self.replays]

    @property
    def mean(self) -> Interval | None:
        """Mean score with its interval over tasks; null where nothing could be scored."""
        known = [(task, score) for task, score in zip(self.tasks, self.scores, strict=True) if score is not None]
        return interval([task for task, _ in known], [score for _, score in known], seed=self.seed)


def attempt(
    states: Sequence[State],
    ask: Ask,
    score: Score,
    *,
    system: str | None = None,
    seed: int = 0,
    temperature: float | None = None,
    concurrency: int = 8,
) -> Trial:
    """Ask a candidate from every state on, under another system message where one is given, and score what it did."""
    replays = replay_all(states, ask, seed=seed, system=system, temperature=temperature, concurrency=concurrency)
    return Trial(replays, score(replays), seed)


def recorded(states: Sequence[State], score: Score, *, seed: int = 0) -> Trial:
    """Score what was recorded from every state, by the same measure."""
    replays = [as_recorded(state) for state in states]
    return Trial(replays, score(replays), seed)
