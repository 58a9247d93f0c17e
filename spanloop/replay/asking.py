"""Asks an OpenAI-compatible endpoint for one answer, patiently where it is busy, and says what it took."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from foundation.errors import SettingsError, SpanloopError
from foundation.web.http import open_outside
from spanloop.replay.messages import Message, from_openai

ATTEMPTS = 4
"""Times a question is sent while an endpoint is busy or away."""

LONGEST_WAIT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    message: Message
    finish_reason: str | None
    duration_s: float
    tokens: tuple[int, int] | None
    """Of prompt and answer; null where the endpoint does not count."""


Ask = Callable[[dict[str, Any]], Answer]
"""The body of a chat completion, without its model, to an answer. Raises `NoAnswer` for a question refused."""


class NoAnswer(SpanloopError):
    """The endpoint refused one question, such as a prompt that is too long for it."""


@dataclass(frozen=True)
class Endpoint:
    """Where a candidate answers."""

    url: str
    """Base URL, `/v1` included."""

    model: str
    key: str | None = None
    replay: str = ""
    """Name of the replay, by which a gateway of ours marks its spans."""

    max_tokens: int | None = None
    """Of an answer to a question that says no other limit."""

    timeout_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, body: dict[str, Any]) -> Answer:
        """Ask for one answer."""
        began = time.monotonic()
        limit = {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        answered = self._post({"model": self.model, **limit, **body})
        duration_s = time.monotonic() - began
        try:
            choice = answered["choices"][0]
            message = from_openai(choice["message"])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _not_chat(self.url, error) from None
        usage = answered.get("usage") or {}
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        tokens = (prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None
        return Answer(message, choice.get("finish_reason"), duration_s, tokens)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        for attempt in range(ATTEMPTS):
            is_last = attempt == ATTEMPTS - 1
            try:
                return request(
                    f"{self.url}/chat/completions",
                    key=self.key,
                    replay=self.replay,
                    body=content,
                    timeout_s=self.timeout_s,
                )
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (401, 403, 404):
                    raise _refusal(error, self.url) from None
                if error.code not in (408, 409, 429) and error.code < 500:
                    raise NoAnswer(f"{self.url} refused a question with status {error.code}") from None
                if is_last:
                    raise SpanloopError(
                        f"{self.url} answered {error.code} {ATTEMPTS} times",
                        hint="Ask fewer at once with --concurrency, or wait until it is less busy.",
                    ) from None
                self.sleep(min(LONGEST_WAIT_S, _wait_s(error, attempt)))
            except ValueError as error:
                raise _not_chat(self.url, error) from None
            except (OSError, http.client.HTTPException) as error:
                if is_last:
                    raise SpanloopError(
                        f"{self.url} cannot be reached: {error}", hint="Is it running, and is the address its base URL?"
                    ) from error
                self.sleep(2.0**attempt / 4)
        raise AssertionError("the last attempt returns or raises")


def request(
    url: str, *, key: str | None, replay: str = "", body: bytes | None = None, timeout_s: float = 30.0
) -> dict[str, Any]:
    """Send one request and return the JSON object of its answer."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if replay:
        headers["X-Spanloop-Replay"] = replay
    sent = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - the endpoint the user named
    with open_outside(sent, timeout_s=timeout_s) as response:
        answered = json.loads(response.read())
    if not isinstance(answered, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 - as json.loads has it
    return answered


def find_model(url: str, *, key: str | None) -> str:
    """Return the name of the one model an endpoint lists, or ask for the name."""
    try:
        listed = [str(model["id"]) for model in request(f"{url}/models", key=key)["data"]]
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error, url) from None
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise SpanloopError(
            f"{url}/models cannot be read: {error}",
            hint="Is it running? Its model can be named with --candidate-model.",
        ) from error
    if not listed or len({name.removesuffix(":live") for name in listed}) > 1:
        raise SettingsError(
            f"{url} serves {len(listed)} models: {', '.join(listed[:10])}", hint="Name one with --candidate-model."
        )
    return listed[0]


def is_url(named: str) -> bool:
    """Tell whether something names an address rather than a directory."""
    return urlsplit(named).scheme in ("http", "https") and bool(urlsplit(named).hostname)


def _not_chat(url: str, error: Exception) -> SpanloopError:
    return SpanloopError(
        f"{url} answered, and not as the chat API does ({type(error).__name__})",
        hint="A candidate is named by the base URL of an OpenAI-compatible API, such as http://host:8000/v1.",
    )


def _refusal(error: urllib.error.HTTPError, url: str) -> SettingsError:
    hints = {404: "Is that its base URL, `/v1` included, and does it serve the model by that name?"}
    key = "Put a key into SPANLOOP_REPLAY_API_KEY."
    return SettingsError(f"{url} answered {error.code} {error.reason}", hint=hints.get(error.code, key))


def _wait_s(error: urllib.error.HTTPError, attempt: int) -> float:
    try:
        return float(error.headers.get("Retry-After") or 2.0**attempt / 2)
    except ValueError:
        return 2.0**attempt / 2
