"""Token ids that are not the text's are set aside."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from etl.calls.tokens import load_decoder
from etl.settings import EtlConfig
from etl.transform import transform
from foundation.errors import SettingsError
from tests.spans import gateway, identifier, logs_frame, spans_frame


def test_ids_that_decode_to_another_text_are_rejected(tmp_path: Path) -> None:
    """The call is kept, the transition is not; a call that asks for tools is not compared."""
    tokenizer = Tokenizer(models.WordLevel({"good": 4, "day": 5, "bad": 6}, unk_token="bad"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    spans = [
        gateway("same", trace="1", ids=[4, 5], said="good day"),
        gateway("other", trace="2", ids=[6, 5], logprobs=(-1.0, -1.0), said="good day", start=3),
        gateway("tool", trace="3", ids=[6, 5], said="", calls=[("c", "f", {})], start=5),
    ]

    dataset = transform(
        spans_frame(spans), logs_frame(), EtlConfig(complete_after=0), decode=load_decoder(tmp_path)
    ).tables

    assert dataset["llm_calls"].height == 3
    assert dataset["rejected"].select("span_id", "reason").rows() == [(identifier("other", 16), "ids_are_not_the_text")]


def test_a_tokenizer_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """Nothing is compared only when nothing was asked for."""
    assert load_decoder(None) is None
    with pytest.raises(SettingsError):
        load_decoder(tmp_path / "gone")
