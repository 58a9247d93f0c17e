"""The small pretrained model as `make model` leaves it: it answers, and its tokenizer splits as it did in training."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = Path(__file__).parents[3] / "build" / "models" / "smollm2-135m-instruct"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not MODEL.is_dir(), reason="needs the pretrained model: make model"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def test_it_answers_an_easy_question(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


def test_digits_and_the_spaces_before_them_are_tokens_of_their_own(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("a  123")) == ["a", "ĠĠ", "1", "2", "3"]
    assert tokenizer.decode(tokenizer.encode("Grüße, 1st  2\n\n3")) == "Grüße, 1st  2\n\n3"
