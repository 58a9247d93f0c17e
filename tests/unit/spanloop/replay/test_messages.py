"""Messages between two shapes, and what makes them the same."""

from spanloop.replay.messages import as_openai, calls_of, from_openai, said_of, with_system


def test_an_answer_survives_both_ways() -> None:
    """Tool calls keep ids, names and arguments."""
    call = {"id": "c1", "name": "add", "arguments": {"a": 1}}
    message = {"role": "assistant", "text": None, "tool_calls": [call]}

    assert from_openai(as_openai(message)) == message


def test_equal_calls_are_equal_however_they_are_written() -> None:
    """Order of keys, spaces, text or object, whole numbers with a point: none of it is another call."""
    one = {"tool_calls": [{"name": "f", "arguments": '{"b": [1.0], "a": {"x": null}}'}, {"name": "e"}]}
    other = {"tool_calls": [{"name": "e", "arguments": ""}, {"name": "f", "arguments": {"a": {"x": None}, "b": [1]}}]}

    assert calls_of(one) == calls_of(other)
    assert said_of({"text": "Done.", **one}) == said_of({"text": " done", **other})
    assert calls_of(one) != calls_of({"tool_calls": [{"name": "f", "arguments": '{"b": [2]}'}, {"name": "e"}]})


def test_arguments_that_are_no_json_stay_what_they_are() -> None:
    """They match the same text alone."""
    broken = from_openai({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"a": '}}]})

    assert broken["tool_calls"][0]["arguments"] == '{"a": '


def test_a_system_message_takes_the_place_of_the_recorded_ones() -> None:
    """One that was not there is put first."""
    said = [{"role": "system", "text": "old"}, {"role": "user", "text": "hi"}]

    assert with_system(said, "new") == [{"role": "system", "text": "new"}, said[1]]
    assert with_system(said[1:], "new") == [{"role": "system", "text": "new"}, said[1]]
    assert with_system(said, None) == said
