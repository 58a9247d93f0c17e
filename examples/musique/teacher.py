"""The gold searches and answers of the searching agent."""

from collections.abc import Sequence

from examples.musique.questions import Question
from examples.teacher import Message, Reply, UnknownQuestion, calling


def teacher(questions: Sequence[Question]) -> Reply:
    """Return what asks one query a hop and then gives the gold answer."""
    known = {question.text: question for question in questions}

    def reply(messages: list[Message]) -> Message:
        asked = next(message["content"] for message in messages if message["role"] == "user")
        question = known.get(asked if isinstance(asked, str) else asked[0]["text"])
        if question is None:
            raise UnknownQuestion(asked)
        done = sum(message["role"] == "tool" for message in messages)
        if done < len(question.queries):
            return calling("search", {"query": question.queries[done]}, number=done)
        return {"content": f"<answer>{question.answers[0]}</answer>"}

    return reply
