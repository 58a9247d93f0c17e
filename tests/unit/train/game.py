"""A decision process small enough to know the exact gradient: six turns of a useful tool, a useless tool, or an answer.

Nothing is hidden: the state is the turn and how many tool calls were useful. A tool call earns +-AIR by its status; an
answer ends the episode and is right with a chance that grows with the useful calls.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TURNS = 6
ACTIONS = 3
ANSWER = 2
STATES = TURNS * (TURNS + 1)
CHANCE = np.array([0.8, 0.3])
"""Of a tool call to succeed: the useful tool, the useless one."""

AIR = 0.2


def win(useful: Ints) -> Floats:
    """Return the chance that an answer is right."""
    return np.minimum(1.0, 0.1 + 0.2 * useful)


def state(turn: int, useful: Ints | int) -> Ints | int:
    """Return the number of a state."""
    return turn * (TURNS + 1) + useful


@dataclass(frozen=True)
class Played:
    """Episodes, turn by turn; -1 and 0 after the end."""

    states: Ints
    actions: Ints
    rewards: Floats
    """Intermediate rewards, and on the answering turn the outcome."""

    @property
    def outcomes(self) -> Floats:
        """1 where the answer was right, 0 where it was wrong or never came."""
        return np.where(self.actions == ANSWER, self.rewards, 0.0).sum(1)

    @property
    def intermediate(self) -> Floats:
        """Rewards of tool calls."""
        return np.where(self.actions == ANSWER, 0.0, self.rewards)


class Game:
    """The process under one softmax policy, drawn from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        logits = self.rng.normal(0, 0.5, (STATES, ACTIONS)) - np.array([0, 0, 0.7])
        self.policy = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    def exact_gradient(self, air: float = AIR) -> Floats:
        """Return the gradient of the expected return by the logits, by dynamic programming."""
        value = np.zeros((TURNS + 1, TURNS + 2))
        quality = np.zeros((STATES, ACTIONS))
        for turn in reversed(range(TURNS)):
            for useful in range(turn + 1):
                at = state(turn, useful)
                following = value[turn + 1]
                gained = CHANCE[0] * following[useful + 1] + (1 - CHANCE[0]) * following[useful]
                quality[at] = (
                    air * (2 * CHANCE[0] - 1) + gained,
                    air * (2 * CHANCE[1] - 1) + following[useful],
                    win(np.array(useful)),
                )
                value[turn, useful] = self.policy[at] @ quality[at]
        visits = np.zeros(STATES)
        visits[0] = 1
        for turn in range(TURNS - 1):
            for useful in range(turn + 1):
                at = state(turn, useful)
                success = visits[at] * self.policy[at, 0] * CHANCE[0]
                visits[state(turn + 1, useful + 1)] += success
                visits[state(turn + 1, useful)] += visits[at] * self.policy[at, :2].sum() - success
        expected = (self.policy * quality).sum(1, keepdims=True)
        return visits[:, None] * self.policy * (quality - expected)

    def play(self, num_episodes: int, air: float = AIR) -> Played:
        """Play episodes."""
        states = np.full((num_episodes, TURNS), -1)
        actions = states.copy()
        rewards = np.zeros((num_episodes, TURNS))
        useful = np.zeros(num_episodes, dtype=np.int64)
        alive = np.ones(num_episodes, dtype=bool)
        for turn in range(TURNS):
            at = state(turn, useful)
            drawn = self.rng.random(num_episodes)[:, None] > self.policy[at].cumsum(1)
            action = drawn.sum(1).clip(0, ANSWER)
            success = self.rng.random(num_episodes) < np.where(action == 0, *CHANCE)
            answered = (self.rng.random(num_episodes) < win(useful)).astype(np.float64)
            earned = np.where(action == ANSWER, answered, np.where(success, air, -air))
            states[alive, turn], actions[alive, turn], rewards[alive, turn] = at[alive], action[alive], earned[alive]
            useful = useful + ((action == 0) & success & alive)
            alive = alive & (action != ANSWER)
        return Played(states, actions, rewards)

    def gradient(self, played: Played, advantages: Floats) -> Floats:
        """Return the policy gradient these episodes estimate, from advantages of (episode, turn)."""
        made = played.states >= 0
        at, taken, weight = played.states[made], played.actions[made], advantages[made] / len(played.states)
        found = np.zeros((STATES, ACTIONS))
        np.add.at(found, (at, taken), weight)
        np.add.at(found, at, -weight[:, None] * self.policy[at])
        return found
