"""What an agent says to the tracker becomes spans and rewards, where there is no OpenTelemetry; and it never raises."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest

from otel_exporter import tracker
from otel_exporter.schema import EPISODE_ID, EVALUATION_EXPLANATION, EVALUATION_NAME, EVALUATION_SCORE, TASK_ID
from otel_exporter.tracking import outbox
from tests.unit.otel_exporter.kept import Kept, Record


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    sender = Kept()
    monkeypatch.setattr(outbox, "_shared", sender)
    return sender


def values_of(record: Record) -> dict[str, Any]:
    """Return attributes by name."""
    return {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}


def test_a_tools_executions_are_spans_below_what_is_around(kept: Kept) -> None:
    """With arguments by name, sync and async, the result as the model sees it; an error is told and raised."""

    @tracker.tool
    def add(left: int, right: int = 1) -> int:
        return left + right

    @tracker.tool(name="look")
    async def search(self: object, query: str) -> dict[str, str]:
        raise LookupError(query)

    with tracker.episode("e", task="sum"):
        assert add(2) == 3
        with pytest.raises(LookupError):
            asyncio.run(search(None, "x"))

    one, other, root = kept.spans
    assert {one["parentSpanId"], other["parentSpanId"]} == {root["spanId"]}
    assert values_of(one)["gen_ai.tool.call.arguments"] == '{"left": 2}'
    assert values_of(one)["gen_ai.tool.call.result"] == "3"
    assert (other["name"], other["status"]["message"]) == ("execute_tool look", "LookupError")
    assert values_of(other)["gen_ai.tool.call.arguments"] == '{"query": "x"}'
    assert [values_of(span)[EPISODE_ID] for span in kept.spans] == ["e"] * 3
    assert [values_of(span).get(TASK_ID) for span in kept.spans] == [None, None, "sum"]


def test_each_call_of_a_decorated_function_is_an_episode(kept: Kept) -> None:
    """With the values that the decorator was given, none shared with another call's."""

    @tracker.episode(task="sum", channel="mail")
    def run(number: int) -> None:
        tracker.annotate(number=number)

    run(1)
    run(2)

    assert [values_of(span)["number"] for span in kept.spans] == ["1", "2"]
    assert [values_of(span)["channel"] for span in kept.spans] == ["mail", "mail"]
    assert len({span["traceId"] for span in kept.spans}) == 2


def test_a_reward_is_of_what_is_around_or_of_what_it_names(kept: Kept) -> None:
    """On the span while it lasts, as a record of its own where it names something."""
    with tracker.agent("planner"):
        assert tracker.reward(0.5, explanation="half")
    assert tracker.reward(1, name="later", response_id="r1")

    [event] = kept.spans[0]["events"]
    assert (values_of(event)[EVALUATION_SCORE], values_of(event)[EVALUATION_EXPLANATION]) == (0.5, "half")
    assert values_of(kept.logs[0])[EVALUATION_NAME] == "later"
    assert values_of(kept.logs[0])["gen_ai.response.id"] == "r1"


@pytest.mark.parametrize("value", [math.nan, math.inf, "good", None, 10**400])
def test_a_reward_that_is_no_finite_number_is_none(kept: Kept, value: Any) -> None:
    """It is said, and nothing is sent."""
    with tracker.episode():
        assert not tracker.reward(value)
    assert "events" not in kept.spans[0]


def test_what_is_about_nothing_is_not_recorded(kept: Kept) -> None:
    """Outside of every span there is nothing to judge or to annotate."""
    assert not tracker.reward(1)
    assert not tracker.annotate(a=1)
    assert kept.logs == kept.spans == []


def test_a_client_that_sends_by_other_means_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It comes back as it was, and the log says that nothing of it is recorded."""
    client = object()

    assert tracker.track(client) is client
    assert "no calls of object are recorded" in caplog.text
