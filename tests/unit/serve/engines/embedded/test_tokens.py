"""Text becomes ids and text again."""

import pytest

from serve.engines.embedded.answers import read_job
from serve.engines.embedded.tokens import detokenize, tokenize
from tests.unit.serve.engines.embedded.reading_aloud import ReadingAloud


def test_text_becomes_ids_and_text_again(speaker: ReadingAloud) -> None:
    """In vLLM's shape; of a conversation the ids its completion would be given."""
    found = tokenize(speaker, {"model": "base", "prompt": "hé", "return_token_strs": True})
    talk = {"model": "base", "messages": [{"role": "user", "content": "a"}]}

    assert (found["count"], found["max_model_len"], len(found["token_strs"])) == (3, 512, 3)
    assert detokenize(speaker, {"tokens": found["tokens"]}) == {"prompt": "hé"}
    assert tokenize(speaker, talk)["tokens"] == read_job(speaker, talk, is_chat=True).prompts[0]
    assert tokenize(speaker, talk)["token_strs"] is None
    for odd in ({"prompt": 5}, {"prompt": "a", "chat_template": "x"}, {**talk, "add_special_tokens": True}):
        with pytest.raises(ValueError, match=r"prompt|chat_template"):
            tokenize(speaker, odd)
    for ids in (["a"], [-1], [10**9], None):
        with pytest.raises(ValueError, match="tokens"):
            detokenize(speaker, {"tokens": ids})
