"""What new spans and rewards find of themselves in what is published."""

import json
from pathlib import Path
from typing import Any

import pytest

from etl.published.rows import Published
from otel_exporter.schema import EPISODE_ID, EVALUATION_NAME, EVALUATION_SCORE
from tests.spans import Span, llm, reward_record, span, spans_frame
from tests.unit.etl.published.dataset import made_of, put, trace

STAND_IN = ("default", "response:r1")


def of_episode(name: str, episode: str, **rest: Any) -> Span:
    """Return a call in a trace of its own, of an episode that several traces are of."""
    return llm(name, trace=name, attributes={EPISODE_ID: episode}, **rest)


def reward_of_answer(response: str) -> dict[str, Any]:
    """Return a reward that names an answer and no trace, as it is read: in its stand-in."""
    fields = {EVALUATION_NAME: "outcome", EVALUATION_SCORE: 1.0, "gen_ai.response.id": response}
    return {**reward_record(1.0), "trace_id": f"response:{response}", "span_id": None, "attributes": json.dumps(fields)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two traces of one episode, one that stands alone, and rewards of it: by its trace, and by its answer."""
    data = tmp_path_factory.mktemp("rows")
    put(data, 3, of_episode("a", "e1", seq=3), of_episode("b", "e1", seq=3, start=5))
    put(
        data,
        5,
        llm("c", trace="c", response_id="r1", asked=[("user", "why?")], said="so", seq=5),
        span("d", trace="c", parent="c", seq=5),
        logs=[reward_record(0.5, trace="c")],
    )
    put(data, 6, logs=[reward_of_answer("r1")])
    return data


def test_only_what_is_published_is_taken(data: Path) -> None:
    """By project: another's trace of the same id is not."""
    named = [trace("a"), trace("c"), trace("new"), ("another", trace("a")[1])]

    assert Published(data).taken(named) == {trace("a"), trace("c")}
    assert Published(data / "nothing").taken(named) == set()


def test_one_trace_of_an_episode_brings_the_others(data: Path) -> None:
    """They are computed anew together."""
    published = Published(data)

    assert published.with_their_episodes({trace("a")}) == {trace("a"), trace("b")}
    assert published.with_their_episodes({trace("new")}) == {trace("new")}
    assert [sorted(one) for one in published.episodes_of({trace("b"), trace("c")})] == [
        sorted([trace("a"), trace("b")])
    ]


def test_a_stand_in_brings_the_trace_it_judges(data: Path) -> None:
    """By the answer it names; and it is known to stand in what is published."""
    published = Published(data)

    assert published.with_their_episodes({STAND_IN}) == {STAND_IN, trace("c")}
    assert published.standing({STAND_IN, ("default", "response:r2")}) == {STAND_IN}


@pytest.mark.parametrize(
    ("left", "lost"),
    [
        (["c", "d"], set()),
        (["d"], {trace("c")}),
        ([], {trace("c")}),
    ],
    ids=["all", "some", "none"],
)
def test_an_episode_is_outlived_where_any_of_its_spans_is_gone(data: Path, left: list[str], lost: set[Any]) -> None:
    """The oldest go first; what is left alone would make another episode of it."""
    spans = spans_frame([span(name, trace="c", seq=5) for name in left])

    assert Published(data).outlived([trace("c"), trace("new")], spans) == lost


def test_an_episode_whose_first_request_is_gone_is_outlived_however_many_came_since(data: Path) -> None:
    """Late spans count no less than the ones before them, and are no substitute."""
    spans = spans_frame([span(name, trace="c", seq=7) for name in ("c", "x", "y")])

    assert Published(data).outlived([trace("c")], spans) == {trace("c")}


def test_with_one_trace_of_an_episode_all_are_outlived(data: Path) -> None:
    """The other's spans alone are not the episode."""
    spans = spans_frame([of_episode("a", "e1", seq=3)])

    assert Published(data).outlived([trace("a"), trace("b")], spans) == {trace("a"), trace("b")}


def test_an_answer_is_found_with_what_it_was_shown(data: Path) -> None:
    """As the messages a request goes on from; one that nobody gave is not there."""
    found = Published(data).responses([("default", "r1"), ("default", "r2"), ("another", "r1")])

    assert list(found) == [("default", "r1")]
    assert [(one["role"], one["text"]) for one in found["default", "r1"]] == [("user", "why?"), ("assistant", "so")]


def test_an_image_that_was_shown_before_is_part_of_the_history(tmp_path: Path) -> None:
    """As it was sent, for what continues that answer, or that conversation."""
    image = {"type": "uri", "modality": "image", "uri": "https://x.org/a.png"}
    shown = [{"role": "user", "parts": [{"type": "text", "content": "what is it?"}, image]}]
    fields = {"gen_ai.input.messages": json.dumps(shown), "gen_ai.conversation.id": "talk"}
    put(tmp_path, 1, llm("p", trace="p", response_id="r7", attributes=fields))

    [answer] = Published(tmp_path).responses([("default", "r7")]).values()
    [[call]] = Published(tmp_path).conversations([("default", "talk")]).values()

    for messages in (answer, call.input or []):
        assert [part["type"] for part in messages[0]["parts"]] == ["text", "image_url"]
    assert not call.incomplete
    assert Published(tmp_path).conversations([("another", "talk")]) == {}


def test_a_datasets_episode_and_answers_find_their_published_traces(data: Path) -> None:
    """A third trace of an episode, a call with an answer's id, a reward that judges one; the rest is nobody's."""
    published = Published(data)

    assert published.related(made_of([of_episode("z", "e1")])) == {trace("a"), trace("b")}
    assert published.related(made_of([llm("z", trace="z", response_id="r1")])) == {trace("c")}
    assert published.related(made_of([], [reward_of_answer("r1")])) >= {trace("c")}
    assert published.related(made_of([llm("z", trace="z")])) == set()


def test_rewards_that_came_as_records_are_given_back_apart(data: Path) -> None:
    """They outlive their spans; and all of an episode's rewards go with its rows."""
    published = Published(data)

    assert published.given_before([trace("c"), trace("a")])["value"].to_list() == [0.5]
    rows = published.rows([trace("c")])
    assert {name: frame.height for name, frame in rows.items() if name in {"episodes", "transitions", "llm_calls"}} == {
        "episodes": 1,
        "transitions": 1,
        "llm_calls": 1,
    }
