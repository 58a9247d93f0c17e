"""A call as a conversation: results beside their calls, pictures that can hold no script, the rest in words."""

import base64
import json
from typing import Any

import pytest

from spanloop.page.traces import conversation

PIXEL = base64.b64encode(b"\x89PNG\r\n").decode()


def call(*media: Any) -> dict[str, Any]:
    shown = [{"role": "user", "text": "what is this?"}]
    entries = [{"message": 0, "parts": [{"type": "image_url", "image_url": {"url": url}} for url in media]}]
    return {"input": json.dumps(shown), "output": "[]", "media": json.dumps(entries)}


def test_pictures_are_numbered_through_the_call() -> None:
    """Each is sent by itself, as what it says it is."""
    talk = conversation.of_call(call(f"data:image/png;base64,{PIXEL}", f"data:image/webp;base64,{PIXEL}"))

    assert talk.shown[0].pictures == (0, 1)
    assert conversation.picture(talk, 1) == ("image/webp", b"\x89PNG\r\n")
    assert conversation.picture(talk, 2) is None
    assert conversation.picture(talk, -1) is None


@pytest.mark.parametrize(
    "address",
    [
        f"data:image/svg+xml;base64,{PIXEL}",
        f"data:text/html;base64,{PIXEL}",
        "data:image/png,plain",
        "https://elsewhere.example/a.png",
    ],
)
def test_what_could_hold_a_script_or_lies_elsewhere_is_named_and_not_shown(address: str) -> None:
    """The page asks nothing of elsewhere: who looks at a trace would be known there."""
    talk = conversation.of_call(call(address))

    assert talk.pictures == ()
    assert talk.shown[0].other_media == (address,)


def test_a_picture_whose_data_is_none_is_not_there() -> None:
    """It was cut on its way, say."""
    talk = conversation.of_call(call("data:image/png;base64,A"))

    assert conversation.picture(talk, 0) is None


def test_a_result_stands_beside_its_call_and_not_again() -> None:
    """One that no call asked for is a message of its own."""
    shown = [
        {"role": "assistant", "tool_calls": [{"id": "1", "name": "look", "arguments": {"at": "it"}}]},
        {"role": "tool", "tool_call_id": "1", "text": "seen"},
        {"role": "tool", "tool_call_id": "2", "text": "stray"},
    ]
    talk = conversation.of_call({"input": json.dumps(shown), "output": "[]"})

    assert [(called.name, called.result) for called in talk.shown[0].tool_calls] == [("look", "seen")]
    assert [one.text for one in talk.shown[1:]] == ["stray"]


def test_an_id_that_is_used_again_has_a_result_each_time() -> None:
    """Servers number the calls of every answer anew: each result is of the call before it."""

    def asks(name: str) -> dict[str, object]:
        return {"role": "assistant", "text": None, "tool_calls": [{"id": "c1", "name": name, "arguments": {}}]}

    results = [{"role": "tool", "text": text, "tool_call_id": "c1"} for text in ("blue", "sea")]
    talk = conversation.of_call({"input": [asks("look"), results[0], asks("find"), results[1], asks("ask")]})

    found = [(called.name, called.result) for message in talk.shown for called in message.tool_calls]
    assert found == [("look", "blue"), ("find", "sea"), ("ask", None)]
    assert len(talk.shown) == 3


def test_what_came_of_an_answers_calls_stands_beside_them() -> None:
    """As the next request says, else as the tools' spans do; an error is marked as one."""
    answer = {"role": "assistant", "tool_calls": [{"id": id_, "name": "look", "arguments": {}} for id_ in "abc"]}
    next_ = json.dumps([answer, {"role": "tool", "tool_call_id": "a", "text": "as told"}])
    tools = [
        {"tool_call_id": "a", "result": "as measured", "error": None},
        {"tool_call_id": "b", "result": None, "error": "broken"},
        {"tool_call_id": None, "result": "of nobody", "error": None},
    ]
    talk = conversation.of_call({"input": "[]", "output": json.dumps([answer])}, conversation.came_of(next_, tools))

    found = [(called.result, called.is_failed) for called in talk.said[0].tool_calls]
    assert found == [("as told", False), ("broken", True), (None, False)]
