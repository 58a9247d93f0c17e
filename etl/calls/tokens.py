"""Compares the token ids of an answer with its text, and with what ids can be: wrong ones teach nonsense."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from etl.dialects.spans import LlmCall
from etl.schema import RejectReason
from foundation.errors import SettingsError

LARGEST = 2**31 - 1
"""Columns of ids hold 32 bits; no vocabulary is larger."""

Decode = Callable[[list[int]], str]


def load_decoder(tokenizer: Path | None) -> Decode | None:
    """Return what turns token ids into text, special tokens left out; None where no tokenizer is given."""
    if tokenizer is None:
        return None
    path = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    if not path.exists():
        raise SettingsError(f"{path} does not exist", hint="Name a checkpoint's directory or its tokenizer.json.")
    from tokenizers import Tokenizer

    loaded: Any = Tokenizer.from_file(str(path))
    return lambda ids: str(loaded.decode(ids, skip_special_tokens=True))


def drop_impossible(calls: Iterable[LlmCall]) -> None:
    """Take the ids that no vocabulary has from their calls, in place, and say of these calls why they are unusable."""
    for call in calls:
        both = (call.prompt_token_ids, call.response_token_ids)
        if any(ids is not None and not 0 <= ids.min() <= ids.max() <= LARGEST for ids in both):
            call.prompt_token_ids = call.response_token_ids = call.behavior_logprobs = None
            call.incomplete.add(RejectReason.IMPOSSIBLE_IDS)


def mismatched(calls: Iterable[LlmCall], decode: Decode | None) -> set[int]:
    """Return the rows of calls whose ids say something else than their text does.

    Only plain answers are compared: tool calls and reasoning are parsed out of the text that the ids stand for.
    Surrounding space is no difference, since servers strip it.
    """
    found: set[int] = set()
    for call in calls if decode is not None else ():
        answer = call.answer
        if call.response_token_ids is None or answer is None or answer["tool_calls"] or answer.get("reasoning"):
            continue
        text = answer["text"]
        assert decode is not None
        if text is not None and decode(call.response_token_ids.tolist()).strip() != text.strip():
            found.add(call.span.index)
    return found
