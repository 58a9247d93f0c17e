"""A task whose prompt leaves out what matters, an agent that does what it is told, and a model that reflects by script.

The agent adds two numbers. It earns 1 for `ANSWER: 12`, and 0 for any other words around the same sum; nothing in its
prompt says so. Told to, it answers in that form nine times in ten.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanloop.replay.asking import Answer
from spanloop.replay.episode import Replayed
from tests.logged import publish, transition

BASE = "You add numbers. Today is {{day}}."
RIGHT = "You add numbers. Today is {{day}}. Reply with ANSWER: and the number alone."
PROPOSALS = (
    "You add numbers. Today is {{day}}. Be brief.",
    "You add numbers carefully. Today is {{day}}. Check your sum twice.",
    RIGHT,
)
DAYS = ("Monday", "Tuesday", "Friday")


def answer(system: str, question: str, *, seed: int) -> str:
    """Return what the agent says."""
    total = sum(map(int, re.findall(r"\d+", question)))
    obeys = "ANSWER:" in system and random.Random(f"{seed}/{question}").random() < 0.9
    return f"ANSWER: {total}" if obeys else f"The sum is {total}."


def worth(question: str, said: str) -> float:
    """Return what an answer earns."""
    return float(said == f"ANSWER: {sum(map(int, re.findall(r'[0-9]+', question)))}")


def question_of(number: int) -> str:
    """Return one of many questions."""
    return f"What is {number} + {number * 7 % 50}?"


def by_worth(replays: Sequence[Replayed]) -> list[float | None]:
    """Score replays by what their last answers earn."""
    return [worth(each.state.messages[1]["text"], (each.last or {}).get("text") or "") for each in replays]


class ByLot:
    """Rewards that have nothing to do with the answers."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)

    def __call__(self, replays: Sequence[Replayed]) -> list[float | None]:
        """Score replays by lot."""
        return [float(self._drawn.random() < 0.5) for _ in replays]


def agent(body: dict[str, Any]) -> Answer:
    """Answer as the agent does."""
    system, question = (message["content"] for message in body["messages"][:2])
    return Answer({"role": "assistant", "text": answer(system, question, seed=body["seed"])}, "stop", 0.1, (10, 4))


class Reflecting:
    """Proposes by script, whatever it is shown, and remembers that."""

    def __init__(self, proposals: Sequence[str] = PROPOSALS) -> None:
        self.proposals = proposals
        self.asked: list[dict[str, Any]] = []

    def __call__(self, body: dict[str, Any]) -> Answer:
        """Answer with the next proposal, round and round."""
        self.asked.append(json.loads(body["messages"][1]["content"]))
        text = self.proposals[(len(self.asked) - 1) % len(self.proposals)]
        said = {"role": "assistant", "text": f"What is missing is the form.\n```\n{text}\n```"}
        return Answer(said, "stop", 0.1, (100, 20))


def log_calls(data: Path, *, num_tasks: int = 40) -> Path:
    """Publish calls of the agent under its own prompt: as many tasks to learn from as are held out."""
    rows = []
    for number in range(2 * num_tasks):
        question, system = question_of(number), BASE.replace("{{day}}", DAYS[number % 3])
        said = answer(system, question, seed=number)
        rows.append(
            transition(
                agent="adder",
                episode_id=f"e{number}",
                task_id=f"t{number}",
                trace_id=f"{number:032x}",
                span_id=f"{number:016x}",
                observation=json.dumps([{"role": "system", "text": system}, {"role": "user", "text": question}]),
                action=json.dumps({"role": "assistant", "text": said, "tool_calls": []}),
                outcome=worth(question, said),
                params='{"max_tokens": 32}',
                evidence="D",
                split="train" if number < num_tasks else "heldout",
                start_ns=1,
                end_ns=2,
                prompt_token_ids=None,
                response_token_ids=None,
                behavior_logprobs=None,
            )
        )
    return publish(data, rows)
