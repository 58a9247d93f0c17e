"""Which answers will not do."""

from serve.api.answers import Choice, Recording
from serve.fallback.checks import ALL, Checks


def test_the_first_check_that_any_choice_fails_is_named() -> None:
    """All choices are looked at, in the order the checks were asked for; none is looked at for nothing."""
    refusal, unread = Choice(text="I can't do that."), Choice(text="<tool_call>{")
    both = Recording(choices={0: Choice(text="yes"), 1: refusal, 2: unread})
    request = {"tools": [{"type": "function", "function": {"name": "f"}}]}

    assert Checks(ALL).find(request, both) == "unparsed"
    assert Checks(("refusal", "unparsed")).find(request, both) == "refusal"
    assert Checks(("unparsed",)).find({}, both) is None  # without tools it is text
    assert Checks(()).find(request, both) is None


def test_an_answer_is_improbable_by_the_mean_of_its_tokens() -> None:
    """A number that is none is never probable enough; where nothing was recorded, nothing can be said."""
    for logprobs, expected in (
        ([-1.0, -2.0], None),
        ([-1.0, -4.0], "improbable"),
        ([float("nan")], "improbable"),
        ([], None),
    ):
        recording = Recording(choices={0: Choice(text="a", logprobs=logprobs)})
        assert Checks(("improbable",), -2.0).find({}, recording) == expected


def test_odd_tools_offer_nothing() -> None:
    """A call where nothing readable was offered fits nothing, whatever the request holds."""
    call = Recording(choices={0: Choice(tool_calls={0: {"id": "c", "name": "f", "arguments": "{}"}})})
    for tools in (None, "f", [1, {"function": "f"}]):
        assert Checks(("schema",)).find({"tools": tools}, call) == "schema"
