"""How an answer is sampled: the parameters of a request, with every default made explicit.

An engine's silent defaults would leave evidence that cannot be used, so the gateway writes them into each request it
forwards and records what it wrote. The defaults are the model's own (generation_config.json), as in vLLM; where it has
none they leave the distribution as the model made it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

Number = TypeVar("Number", int, float)

NEUTRAL: dict[str, float | int] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""Parameters that change nothing; a `top_k` of 0 or -1 keeps every token."""

MODEL_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def sampling_defaults(model: Path) -> dict[str, float | int]:
    """Return the sampling parameters of a request that names none, for the model in a directory."""
    path = model / "generation_config.json"
    config = json.loads(path.read_bytes()) if path.exists() else {}
    own = {name: config[name] for name in MODEL_DEFAULTS if isinstance(config.get(name), int | float)}
    return NEUTRAL | own


def with_defaults(request: Mapping[str, Any], defaults: Mapping[str, float | int]) -> dict[str, Any]:
    """Return the request with every sampling parameter named; a null counts as not named.

    >>> with_defaults({"temperature": 0.5, "top_p": None}, NEUTRAL)
    {'temperature': 0.5, 'top_p': 1.0, 'top_k': 0, 'min_p': 0.0}
    """
    named = dict(request)
    for name, value in defaults.items():
        if named.get(name) is None:
            named[name] = value
    return named


class UnsupportedParameter(ValueError):
    """A request asks for something this engine would have to ignore.

    The message begins with the parameter's name, and clients find the name in `error.param`.
    """

    def __init__(self, param: str, said: str) -> None:
        super().__init__(f"{param} {said}")
        self.param = param
        self.said = said

    def of(self, param: str) -> Self:
        """Return the refusal under the name another API has for the parameter."""
        return type(self)(param, self.said)


@dataclass(frozen=True)
class Sampling:
    """What the embedded engine needs to sample one sequence."""

    temperature: float = 1.0
    """0 is greedy: the likeliest token, reported with its log-probability at temperature 1, as vLLM does."""

    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int = 16
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    num_top_logprobs: int = 0
    """Alternatives to report beside the sampled token."""

    @property
    def truncates(self) -> bool:
        """Tell whether some tokens are cut off before sampling."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


def parse_sampling(request: Mapping[str, Any], *, default_max_tokens: int) -> Sampling:
    """Read the sampling parameters of an OpenAI request; raise `UnsupportedParameter` for what cannot be honoured."""
    values = with_defaults(request, NEUTRAL)
    max_tokens = _first(request, "max_completion_tokens", "max_tokens")
    stop = request.get("stop") or ()
    is_chat = "messages" in request
    logprobs = request.get("top_logprobs") if is_chat else request.get("logprobs")
    if is_chat and logprobs and not request.get("logprobs"):
        raise UnsupportedParameter("top_logprobs", "needs logprobs to be true")
    if not isinstance(stop, str | list | tuple):
        raise UnsupportedParameter("stop", "must be a string or a list of strings")
    sampling = Sampling(
        temperature=_number(float, "temperature", values["temperature"]),
        top_p=_number(float, "top_p", values["top_p"]),
        top_k=max(0, _number(int, "top_k", values["top_k"])),
        min_p=_number(float, "min_p", values["min_p"]),
        max_tokens=default_max_tokens
        if max_tokens is None
        else min(_number(int, "max_tokens", max_tokens), default_max_tokens),
        seed=None if request.get("seed") is None else _number(int, "seed", request["seed"]),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        ignore_eos=bool(request.get("ignore_eos", False)),
        num_top_logprobs=_number(int, "top_logprobs" if is_chat else "logprobs", logprobs or 0),
    )
    _check_range("temperature", sampling.temperature, 0, 100)
    _check_range("top_p", sampling.top_p, 1e-9, 1)
    _check_range("min_p", sampling.min_p, 0, 1)
    _check_range("max_tokens", sampling.max_tokens, 1, default_max_tokens)
    _check_range("logprobs", sampling.num_top_logprobs, 0, 20)
    if not all(isinstance(text, str) and text for text in sampling.stop):
        raise UnsupportedParameter("stop", "must be strings that are not empty")
    return sampling


def _first(request: Mapping[str, Any], *names: str) -> Any:  # noqa: ANN401 - a JSON value
    return next((request[name] for name in names if request.get(name) is not None), None)


def _number(kind: type[Number], name: str, value: Any) -> Number:  # noqa: ANN401 - a JSON value
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedParameter(name, "is not a number") from error


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UnsupportedParameter(name, f"is {value:g}; it must be between {low:g} and {high:g}")
