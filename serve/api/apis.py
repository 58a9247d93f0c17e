"""OpenAI's ways to ask a model, as the gateway passes them on: chat, plain completions, and the Responses API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from serve.api import answers, responses
from serve.api.answers import Json, Recording, Wants


@dataclass(frozen=True)
class Api:
    """One of OpenAI's ways to ask a model: where, and how its requests and answers are read and reduced."""

    path: str
    is_chat: bool
    loosen: Callable[[Json], Json]
    """Takes the mark `strict` off tools."""

    client_wants: Callable[[Mapping[str, Any]], Wants]
    ask_for_evidence: Callable[[Json], Json]
    read: Callable[[Recording, Mapping[str, Any]], None]
    strip: Callable[[Json, Wants], Json | None]
    describe: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Returns the request as the span is to have it."""


def _completions(path: str, *, is_chat: bool) -> Api:
    return Api(
        path=path,
        is_chat=is_chat,
        loosen=answers.without_strict,
        client_wants=partial(answers.client_wants, is_chat=is_chat),
        ask_for_evidence=partial(answers.ask_for_evidence, is_chat=is_chat),
        read=Recording.read,
        strip=answers.strip,
        describe=lambda request: request,
    )


APIS = (
    _completions("/v1/chat/completions", is_chat=True),
    _completions("/v1/completions", is_chat=False),
    Api(
        path="/v1/responses",
        is_chat=True,
        loosen=responses.loosen,
        client_wants=responses.client_wants,
        ask_for_evidence=responses.ask_for_evidence,
        read=responses.read,
        strip=responses.strip,
        describe=responses.as_chat,
    ),
)
