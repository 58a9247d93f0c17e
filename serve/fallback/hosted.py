"""A hosted model behind any OpenAI-compatible URL: asked as a client would ask it, with a key that shows nowhere."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from foundation.errors import SettingsError
from foundation.web.listening import is_loopback
from serve.api.answers import Json

CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 15.0

ENGINES_ALONE = frozenset(
    (
        "top_k", "min_p", "repetition_penalty", "length_penalty", "return_token_ids", "return_tokens_as_token_ids",
        "guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend",
        "structured_outputs", "chat_template", "chat_template_kwargs", "add_generation_prompt",
        "continue_final_message", "add_special_tokens", "ignore_eos", "min_tokens", "stop_token_ids", "bad_words",
        "allowed_token_ids", "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output",
        "prompt_logprobs", "truncate_prompt_tokens", "enable_response_messages", "priority", "request_id",
        "include_reasoning", "documents", "mm_processor_kwargs", "vllm_xargs", "cache_salt", "use_beam_search",
    )
)  # fmt: skip
"""Parameters of vLLM's that OpenAI's API does not have, and refuses."""

REASONING = ("reasoning", "reasoning_content")
"""What the student thought in earlier turns: not part of a request to OpenAI."""

URL = re.compile(r"https?://[^\s?#@]+")


@dataclass(frozen=True, eq=False)
class Hosted:
    """Where a hosted model is asked, and under which name. Stands where an engine stands."""

    url: str
    """Base of its API, as OpenAI's clients take it: `https://host/v1`."""

    model: str
    session: aiohttp.ClientSession

    @property
    def provider(self) -> str:
        """What `gen_ai.provider.name` says of it: where it is, but for the one the conventions have a name for."""
        host = urlsplit(self.url).hostname or "unknown"
        return "openai" if host == "api.openai.com" else host

    @contextlib.contextmanager
    def place(self, request: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002 - one place for every call
        """Yield what stands before `/chat/completions` and the like."""
        yield self.url


def open_hosted(url: str, model: str, key: str | None) -> Hosted:
    """Make a client of a hosted model. Called in a running event loop."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    session = aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=1 << 20,
        trust_env=not is_loopback(urlsplit(url).hostname or ""),  # outside there may be a proxy between
    )
    return Hosted(check_url(url), model, session)


def check_url(url: str) -> str:
    """Return the base of an API, `/v1` where nothing is said of a path; refuse what is none.

    >>> check_url("https://api.example.com"), check_url("http://127.0.0.1:9/openai/v1/")
    ('https://api.example.com/v1', 'http://127.0.0.1:9/openai/v1')
    """
    if not URL.fullmatch(url):
        raise SettingsError(f"{url[:200]!r} is not the http(s) base of an API, such as https://api.example.com/v1")
    bare = url.rstrip("/")
    return bare if urlsplit(bare).path else f"{bare}/v1"


def read_key(variable: str | None, path: Path | None) -> str | None:
    """Return the key an environment variable or a file holds; None where neither is named."""
    if variable is not None:
        if not (key := os.environ.get(variable, "").strip()):
            raise SettingsError(f"the environment has no {variable}, or it is empty", hint="Set it, or name a file.")
        return _checked(key, f"the variable {variable}")
    if path is None:
        return None
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    return _checked(key, str(path))


def _checked(key: str, place: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(f"{place} does not hold a key: one word of printable ASCII")
    return key


def as_asked_of(hosted: Hosted, request: Mapping[str, Any]) -> Json:
    """Return a client's request as the hosted model is to get it: its name, and nothing only an engine understands.

    >>> as_asked_of(Hosted("u", "big", None), {"model": "base:live", "min_p": 0.1, "n": 1})  # type: ignore[arg-type]
    {'model': 'big', 'n': 1}
    """
    asked = {name: value for name, value in request.items() if name not in ENGINES_ALONE} | {"model": hosted.model}
    messages = asked.get("messages")
    if isinstance(messages, list):
        asked["messages"] = [_without_reasoning(message) for message in messages]
    return asked


def _without_reasoning(message: Any) -> Any:  # noqa: ANN401 - whatever a client sent
    if not isinstance(message, dict) or not any(name in message for name in REASONING):
        return message
    return {name: value for name, value in message.items() if name not in REASONING}


def stays(unit: bytes, share: float) -> bool:
    """Tell whether a unit (a user, else an episode, a trace, a conversation) stays with the hosted model.

    Always the same ones; as the share shrinks, those who have the student keep it.
    """
    drawn = int.from_bytes(hashlib.blake2b(unit, digest_size=8, person=b"fallback").digest())
    return drawn < share * 2**64
