"""A teacher answers what an agent asks with the gold, in the form of any endpoint, and records it as it was."""

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.calcx import questions as calcx
from examples.calcx import teacher as calcx_teacher
from examples.musique import questions as musique
from examples.musique import teacher as musique_teacher
from examples.spider import questions as spider
from examples.spider import teacher as spider_teacher
from examples.teacher import UnknownQuestion, serving

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tasks"


def ask(url: str, messages: list[dict[str, Any]], **headers: str) -> dict[str, Any]:
    body = json.dumps({"model": "live", "messages": messages}).encode()
    request = Request(f"{url}/chat/completions", body, {"Content-Type": "application/json", **headers})
    with urlopen(request, timeout=10) as answer:
        return dict(json.loads(answer.read()))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def tool(text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text}


def test_the_writer_is_given_the_gold_query_of_its_question_and_schema() -> None:
    """The checker finds it correct; a question nobody knows is told so."""
    (question, *_) = questions = spider.load(FIXTURES, "train")
    reply = spider_teacher.teacher(questions)

    written = reply([user("Write"), user(f"{question.schema}\nQuestion: {question.text}")])
    checked = reply([user("Say THE QUERY IS CORRECT."), user("x")])

    assert written == {"content": question.gold}
    assert checked["content"] == "THE QUERY IS CORRECT."
    with pytest.raises(UnknownQuestion):
        reply([user("Write"), user("t(a)\nQuestion: of another database?")])


def test_the_searcher_asks_a_query_a_hop_and_then_answers() -> None:
    """Each names what the hop before it found."""
    question = next(one for one in musique.load(FIXTURES, "train") if one.hops == 2)
    reply = musique_teacher.teacher([question])

    said = [reply([user(question.text), *[tool("x")] * done]) for done in range(3)]

    queries = [json.loads(one["tool_calls"][0]["function"]["arguments"])["query"] for one in said[:2]]
    assert queries == list(question.queries)
    assert "#1" not in queries[1]
    assert said[2] == {"content": f"<answer>{question.answers[0]}</answer>"}


def test_the_calculating_agent_works_out_every_step() -> None:
    """And marks the answer."""
    problem = next(one for one in calcx.load(FIXTURES, "train") if len(one.steps) == 2)
    reply = calcx_teacher.teacher([problem])

    said = [reply([user(problem.text), *[tool("1")] * done]) for done in range(3)]

    steps = [json.loads(one["tool_calls"][0]["function"]["arguments"])["expression"] for one in said[:2]]
    assert steps == list(problem.steps)
    assert said[2] == {"content": f"### ANSWER: {problem.answer} ###"}


def test_an_exchange_is_recorded_whole_in_the_trace_of_the_caller() -> None:
    """Each answer has an id of its own; what has no answer is refused and not recorded."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def reply(messages: list[dict[str, Any]]) -> dict[str, Any]:
        if messages[0]["content"] == "?":
            raise UnknownQuestion("?")
        return {"content": "yes"}

    with serving(reply, provider.get_tracer("teacher")) as url:
        answers = [ask(url, [user("so?")], traceparent=f"00-{'a' * 32}-{'b' * 16}-01") for _ in range(2)]
        with pytest.raises(HTTPError) as refused:
            ask(url, [user("?")])

    refused.value.close()
    assert refused.value.code == 400
    assert len({answer["id"] for answer in answers}) == 2
    spans = exporter.get_finished_spans()
    assert [f"{span.context.trace_id:x}" for span in spans] == ["a" * 32] * 2  # type: ignore[union-attr]
    assert json.loads(str(spans[0].attributes["spanloop.request.body"]))["messages"] == [user("so?")]  # type: ignore[index]
