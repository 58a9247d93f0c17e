import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import ExitStatus
from serve.change.behavior import (
    SIGNIFICANCE,
    Answer,
    BehaviorRefused,
    check_report,
    judge,
    keep_report,
    read_answer,
    read_report,
    sign_test,
)
from serve.change.heldout import Prompt
from serve.settings import GateConfig

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ASKED = Prompt(
    [{"role": "user", "content": "1+1"}],
    [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}],
)
TALKED = Prompt([{"role": "user", "content": "hello"}], [])
GOOD = Answer(num_tokens=20, is_called=True, is_parsed=True, is_valid=True, is_refused=False, is_cut=False)
CONFIG = GateConfig()


def answer(content: str | None = None, *calls: tuple[str, str], finish_reason: str = "stop", **message: Any) -> Any:
    tool_calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    body = {"message": {"content": content, "tool_calls": tool_calls, **message}, "finish_reason": finish_reason}
    return {"choices": [body], "usage": {"completion_tokens": 7}}


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        (answer(None, ("add", '{"a": 1}')), set()),
        (answer("4"), {"is_called"}),
        (answer(None, ("add", '{"a": "one"}')), {"is_valid"}),
        (answer(None, ("add", "{oops")), {"is_valid"}),
        (answer(None, ("add", "[1]")), {"is_valid"}),
        (answer(None, ("subtract", '{"a": 1}')), {"is_valid"}),
        (answer('<tool_call>{"name": "add", "arg'), {"is_parsed"}),
        (answer("I'm sorry, but I can't help with that."), {"is_called", "is_refused"}),
        (answer("I cannot assist"), {"is_called", "is_refused"}),
        (answer(None, refusal="No."), {"is_called", "is_refused"}),
        (answer("Sorry to hear that. It is 4."), {"is_called"}),
        (answer("4 4 4 4", finish_reason="length"), {"is_called", "is_cut"}),
    ],
)
def test_the_form_of_an_answer_is_read(body: Any, bad: set[str]) -> None:
    """Each fault is that fault and no other."""
    found = read_answer(body, ASKED)

    flaws = {name for name in ("is_called", "is_parsed", "is_valid") if not getattr(found, name)}
    flaws |= {name for name in ("is_refused", "is_cut") if getattr(found, name)}
    assert flaws == bad
    assert found.num_tokens == 7


def test_marks_of_a_call_are_text_where_no_tools_were_offered() -> None:
    """Somebody may ask what `<tool_call>` means."""
    assert read_answer(answer("It is written <tool_call>."), TALKED).is_parsed


def judged(before: list[Answer | None], after: list[Answer | None], prompt: Prompt = ASKED) -> Any:
    return judge([prompt] * len(before), before, after, CONFIG, weights_digest="d", compared_version="old")


@pytest.mark.parametrize(
    ("flaw", "measure"),
    [
        ({"is_parsed": False}, "parsed"),
        ({"is_valid": False}, "valid"),
        ({"is_called": False}, "called"),
        ({"is_refused": True}, "refused"),
        ({"is_cut": True}, "cut"),
        ({"num_tokens": 50}, "length"),
        ({"num_tokens": 5}, "length"),
    ],
)
def test_each_measure_refuses_what_it_is_for(flaw: dict[str, Any], measure: str) -> None:
    """A flaw in 16 of 32 answers, none of them before; the report says which and by how much."""
    flawed = Answer(**(GOOD.__dict__ | flaw))
    num_flawed = 32 if measure == "length" else 16

    report = judged([GOOD] * 32, [flawed] * num_flawed + [GOOD] * (32 - num_flawed))

    assert not report.passed
    assert [name for name, found in report.measures.items() if not found.passed] == [measure]
    assert report.reasons[0].startswith(measure)
    with pytest.raises(BehaviorRefused, match=measure) as refused:
        check_report(report, "new")
    assert refused.value.exit_status is ExitStatus.REFUSED


@given(st.lists(st.builds(Answer, st.integers(1, 99), *[st.booleans()] * 5), max_size=40))
def test_the_same_answers_pass(answers: list[Answer]) -> None:
    """However bad they are: the gate is about change."""
    assert judged(list(answers), list(answers)).passed


def test_what_chance_explains_is_not_refused() -> None:
    """Four prompts worse and none better happens to unchanged weights once in sixteen; five do not."""
    bad = Answer(**(GOOD.__dict__ | {"is_parsed": False}))

    assert judged([GOOD] * 32, [bad] * 4 + [GOOD] * 28).passed
    assert not judged([GOOD] * 32, [bad] * 5 + [GOOD] * 27).passed


def test_getting_better_passes() -> None:
    """A model that learns to call tools changes a lot, for the good."""
    bad = Answer(**(GOOD.__dict__ | {"is_parsed": False, "is_cut": True, "is_refused": True}))

    assert judged([bad] * 32, [GOOD] * 32).passed


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_is_a_test(worse: int, better: int) -> None:
    """One-sided, exact: both ways together count the middle twice, and more worse is never likelier."""
    p = sign_test(worse, better)

    assert 0 <= p <= 1
    assert p + sign_test(better, worse) >= 1 - 1e-9
    assert sign_test(worse + 1, better) <= p + 1e-12


def test_an_unchanged_model_is_refused_no_more_often_than_said() -> None:
    """Exactly: over all outcomes of prompts that change either way with equal chance."""
    from math import comb

    for changed in (1, 5, 20, 64):
        refused = sum(
            comb(changed, worse) for worse in range(changed + 1) if sign_test(worse, changed - worse) <= SIGNIFICANCE
        )
        assert refused / 2**changed <= SIGNIFICANCE


def test_prompts_an_engine_does_not_take_say_nothing() -> None:
    """And a dataset without any leaves the gate open, saying why."""
    report = judged([None, GOOD], [None, GOOD])
    nothing = judged([None], [None])

    assert report.num_prompts == 1
    assert report.verdict is True
    assert nothing.passed
    assert nothing.verdict is None
    assert nothing.reasons == ["no held-out prompt that the engine takes"]


def test_weights_that_no_longer_answer_are_refused() -> None:
    """What the live model answers and new weights do not is worse, however well they answer the rest."""
    report = judged([GOOD] * 32, [None] * 8 + [GOOD] * 24)

    assert not report.passed
    assert report.reasons[0].startswith("answered 0.75, 1 before")
    assert judged([None] * 8 + [GOOD] * 24, [GOOD] * 32).passed


def test_a_report_is_kept_beside_the_registry(tmp_path: Path) -> None:
    """Whole, bound to the weights, readable again."""
    report = judged([GOOD], [GOOD])

    keep_report(tmp_path, "new", report)

    assert read_report(tmp_path, "new") == report
    assert read_report(tmp_path, "other") is None
    assert json.loads((tmp_path / "serve" / "gates" / "new.json").read_text())["weights_digest"] == "d"
