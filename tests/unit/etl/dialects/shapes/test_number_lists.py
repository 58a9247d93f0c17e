"""Long lists of numbers become arrays, and whatever is no such list is read as before."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.dialects.shapes.number_lists import integers, numbers, object_with_arrays, whole_numbers

IDS = list(range(100_000, 100_040))


def text(**attributes: object) -> str:
    """Return attributes as the receiver writes them."""
    return json.dumps(attributes, separators=(",", ":"))


@given(st.lists(st.integers(0, 2**31 - 1), min_size=20, max_size=60))
def test_ids_come_through_as_they_are(ids: list[int]) -> None:
    """To the last one, with what stands around them."""
    found = object_with_arrays(text(a="x", prompt_token_ids=ids, b=[1]))

    if found is None:
        assert len(json.dumps(ids)) < 300
        return
    assert found["prompt_token_ids"].tolist() == ids
    assert (found["a"], found["b"]) == ("x", [1])


@given(st.lists(st.floats(-50, 0), min_size=10, max_size=60))
def test_log_probabilities_keep_their_last_bit(values: list[float]) -> None:
    """An array of doubles holds what JSON says."""
    name = "spanloop.choice.0.logprobs"

    found = object_with_arrays(text(**{name: values}))

    read = values if found is None else found[name].astype(float).tolist()
    assert read == [float(value) for value in values]


@pytest.mark.parametrize(
    "attributes",
    [
        {"inner": {"prompt_token_ids": IDS}},
        {"inner": {"prompt_token_ids": IDS}, "prompt_token_ids": IDS},
        {"response_token_ids": [IDS]},
        {"prompt_token_ids": [*IDS, None]},
        {"prompt_token_ids": [*IDS, "1"]},
        {"somebody.token_ids": IDS},
        {"prompt_token_ids": [1, 2]},
        {"said": '"prompt_token_ids":[' + "1," * 80 + "1]"},
    ],
    ids=["within", "within and without", "of lists", "null", "text", "another's", "short", "in a text"],
)
def test_anything_else_is_left_to_the_parser(attributes: dict[str, Any]) -> None:
    """A list that is not one of numbers under a known name at the top of the object is no array."""
    assert object_with_arrays(text(**attributes)) is None


@pytest.mark.parametrize("broken", ["[1,,2", "[1,2", "[01x"])
def test_no_json_is_no_object(broken: str) -> None:
    """It reads as empty, as any other that cannot be parsed."""
    assert object_with_arrays('{"prompt_token_ids":' + broken.replace("1", "1" * 80) + "}") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 2], [1, 2]), ("[1, 2]", [1, 2]), ([1, 2.5], None), ([], None), ([1, 10**30], [1, 2**31]), (None, None)],
)
def test_integers_are_integers(value: object, expected: list[int] | None) -> None:
    """What is beyond any vocabulary stays recognisable as that."""
    found = integers(value)

    assert (None if found is None else found.tolist()) == expected


def test_numbers_may_be_written_either_way() -> None:
    """Ids as doubles, log-probabilities as integers."""
    ids, logprobs = whole_numbers([1.0, 2.0]), numbers(np.array([0, -1]))

    assert ids is not None
    assert ids.tolist() == [1, 2]
    assert logprobs is not None
    assert logprobs.dtype == np.float64
