"""The gold steps and answers of the calculating agent."""

from collections.abc import Sequence

from examples.calcx.questions import Problem
from examples.teacher import Message, Reply, UnknownQuestion, calling


def teacher(problems: Sequence[Problem]) -> Reply:
    """Return what works out one step a call and then gives the gold answer."""
    known = {problem.text: problem for problem in problems}

    def reply(messages: list[Message]) -> Message:
        asked = next(message["content"] for message in messages if message["role"] == "user")
        problem = known.get(asked if isinstance(asked, str) else asked[0]["text"])
        if problem is None:
            raise UnknownQuestion(asked)
        done = sum(message["role"] == "tool" for message in messages)
        if done < len(problem.steps):
            return calling("calculate", {"expression": problem.steps[done]}, number=done)
        return {"content": f"### ANSWER: {problem.answer} ###"}

    return reply
