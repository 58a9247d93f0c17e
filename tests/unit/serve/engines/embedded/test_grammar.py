"""What may follow in an answer held to a form, over a tokenizer of bytes; no model takes part."""

import asyncio
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from serve.engines.embedded.forms import Form, read_form
from serve.engines.embedded.grammar import MAX_KEPT, MAX_SAID, Constraint, GrammarFailed, Grammars, special_tokens
from serve.sampling import UnsupportedParameter
from tests.fakes import END, SPECIAL, VOCABULARY_SIZE, byte_tokenizer

ENDS = frozenset({END})


@pytest.fixture(scope="module")
def grammars(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    path = tmp_path_factory.mktemp("tokenizer")
    byte_tokenizer(path)
    return Grammars(AutoTokenizer.from_pretrained(path))


def one_of(*texts: str) -> Form:
    form = read_form({"structured_outputs": {"choice": list(texts)}}, None, SPECIAL)
    assert form is not None
    return form


def ids(grammars: Grammars, text: str) -> list[int]:
    return [int(one) for one in grammars._tokenizer.encode(text)]


def may_follow(constraint: Constraint, size: int = VOCABULARY_SIZE) -> set[int]:
    """Return the ids that are left, of logits that had a value each."""
    masked = constraint.mask(torch.zeros(size))
    assert masked.shape == (size,)
    return set(torch.isfinite(masked).nonzero().flatten().tolist())


def test_only_what_keeps_to_the_form_may_follow(grammars: Grammars) -> None:
    """To its end, where nothing but the end may; the logits that are left are as they were."""
    answer = grammars.compile_now(one_of("no", "nay"), VOCABULARY_SIZE, ENDS).fresh()
    n, a, o, y = (ids(grammars, letter)[0] for letter in "naoy")
    logits = torch.arange(VOCABULARY_SIZE, dtype=torch.float32)

    assert may_follow(answer) == {n}
    assert answer.mask(logits)[n] == n
    assert not answer.take(n)
    assert may_follow(answer) == {a, o}
    assert not answer.take(a)
    assert may_follow(answer) == {y}
    answer.take(y)
    assert may_follow(answer) <= {END}
    assert answer.take(END)


def test_answers_of_one_grammar_know_nothing_of_each_other(grammars: Grammars) -> None:
    """The one that is kept stays at its beginning, however many were sampled."""
    kept = grammars.compile_now(one_of("ab"), VOCABULARY_SIZE, ENDS)
    first, second = kept.fresh(), kept.fresh()
    a, b = ids(grammars, "ab")

    first.take(a)

    assert [may_follow(each) for each in (first, second, kept.fresh())] == [{b}, {a}, {a}]


def test_rows_of_the_head_that_stand_for_no_token_never_follow(grammars: Grammars) -> None:
    """Models round their vocabulary up."""
    size = VOCABULARY_SIZE + 55
    anything = read_form({"structured_outputs": {"regex": "(?s:.*)"}}, None, SPECIAL)
    assert anything is not None

    found = may_follow(grammars.compile_now(anything, size, ENDS).fresh(), size)

    assert found
    assert max(found) < VOCABULARY_SIZE


def test_each_id_a_model_ends_with_ends_an_answer(grammars: Grammars) -> None:
    """Not that of the tokenizer alone."""
    both = frozenset({END, END + 1})
    answer = grammars.compile_now(one_of("a"), VOCABULARY_SIZE, both).fresh()

    answer.take(*ids(grammars, "a"))

    assert may_follow(answer) == both


def test_where_the_library_gives_up_the_answer_ends_with_a_reason(grammars: Grammars) -> None:
    """Named for the parameter that asked for the form; an answer that goes on unheld would be worse."""
    answer = grammars.compile_now(one_of("ab"), VOCABULARY_SIZE, ENDS).fresh()

    with pytest.raises(GrammarFailed, match="cannot be kept to") as failed:
        answer.take(*ids(grammars, "z"))

    assert failed.value.param == one_of("ab").param


@pytest.mark.parametrize("grammar", ["{", '{"grammars": [{"lark_grammar": "start: nowhere" }]}', '{"grammars": []}'])
def test_a_grammar_that_cannot_begin_is_refused(grammars: Grammars, grammar: str) -> None:
    """With the parameter's name, in words that fit a line; and is not kept."""
    for _ in range(2):
        with pytest.raises(UnsupportedParameter, match="no answer can be held to") as refused:
            asyncio.run(grammars.compile(Form(grammar, "response_format"), VOCABULARY_SIZE, ENDS))
        assert refused.value.param == "response_format"
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < MAX_SAID + 100


def test_what_is_asked_for_over_and_over_is_compiled_once(grammars: Grammars) -> None:
    """The least recently asked for gives way; another vocabulary is another grammar."""
    often = one_of("often")
    kept = grammars.compile_now(often, VOCABULARY_SIZE, ENDS)
    once = grammars.compile_now(one_of("once"), VOCABULARY_SIZE, ENDS)
    assert grammars.compile_now(often, VOCABULARY_SIZE + 1, ENDS) is not kept

    for number in range(MAX_KEPT - 1):
        grammars.compile_now(one_of(f"other {number}"), VOCABULARY_SIZE, ENDS)
        assert grammars.compile_now(often, VOCABULARY_SIZE, ENDS) is kept

    assert grammars.compile_now(one_of("once"), VOCABULARY_SIZE, ENDS) is not once


def test_a_form_may_be_compiled_from_any_loop(grammars: Grammars) -> None:
    """In a thread of its own, while the loop goes on."""

    async def both() -> list[Constraint]:
        return await asyncio.gather(*(grammars.compile(one_of("x"), VOCABULARY_SIZE, ENDS) for _ in range(2)))

    first, second = asyncio.run(both())
    (third, _) = asyncio.run(both())

    assert first is second is third


def test_tokens_that_stand_for_no_text_are_those_marked_special(tmp_path: Path) -> None:
    """Added words that are text are not among them."""
    byte_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["Spanloop"])

    assert special_tokens(tokenizer) == set(SPECIAL)
