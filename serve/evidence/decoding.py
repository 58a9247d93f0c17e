"""Checks that recorded token ids are the answer the client got: decoded, they must say what the text says.

Ids and text reach the gateway by different ways through an engine (a tool parser holds text back, a stop string cuts
it), so that one can be wrong while the other looks fine. Training believes the ids.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from serve.api.answers import Choice

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Decoder:
    """The tokenizer of a model directory."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def matches(self, choice: Choice) -> bool | None:
        """Tell whether a choice's ids say what its text says; null where nothing can be said.

        Text is compared whole. Where the engine took an answer apart (reasoning, tool calls), its parts must stand in
        the decoded text in that order. An answer cut inside a character cannot be compared.
        """
        if not choice.token_ids:
            return None
        decoded = self._tokenizer.decode(choice.token_ids, skip_special_tokens=False)
        visible = self._tokenizer.decode(choice.token_ids, skip_special_tokens=True)
        if REPLACEMENT in visible or REPLACEMENT in choice.text:
            return None
        if not choice.tool_calls and not choice.reasoning and not choice.refusal:
            return _is_text(choice, visible) or _is_text(choice, decoded)
        return _has_parts(decoded, [choice.reasoning, choice.text], choice.tool_calls)


def _is_text(choice: Choice, decoded: str) -> bool:
    # A stop string ends the text before the ids that made it.
    return decoded == choice.text or (choice.finish_reason == "stop" and decoded.startswith(choice.text))


def _has_parts(decoded: str, texts: list[str], calls: dict[int, dict[str, Any]]) -> bool:
    place = 0
    for part in [*(text.strip() for text in texts), *(call["name"] for _, call in sorted(calls.items()))]:
        found = decoded.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    # Parsers write arguments anew: another spacing, another order of keys; what counts is in them.
    return all(_has_arguments(decoded, call["arguments"]) for call in calls.values())


def _has_arguments(decoded: str, arguments: str) -> bool:
    if arguments in decoded:
        return True
    try:
        leaves = list(_leaves(json.loads(arguments)))
    except ValueError:
        return False
    return all(leaf in decoded or json.dumps(leaf)[1:-1] in decoded for leaf in leaves)


def _leaves(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value


def read_decoder(model: Path, digest: str | None) -> Decoder | None:
    """Return the decoder of a model directory; null for a model without tokenizer.json.

    Kept by the tokenizer's digest: checkpoints of one family share it, and a large one takes a second to read.
    """
    if digest is None:
        return None
    if digest not in _KEPT:
        decoder = Decoder(Tokenizer.from_file(str(model / "tokenizer.json")))
        _KEPT.clear()
        _KEPT[digest] = decoder
    return _KEPT[digest]


_KEPT: dict[str, Decoder] = {}
