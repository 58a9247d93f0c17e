"""What an engine answered, read twice: recorded in full for the evidence, and reduced to what the client asked for.

Pure functions over OpenAI's JSON, whole answers and streamed chunks alike. vLLM's extensions are `prompt_token_ids`
(on the answer for chat, on the choice for completions; in a stream on the first chunk) and `choices[].token_ids`
(in a stream on every chunk, those with an empty delta included).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Wants:
    """Which of the things we ask the engine for the client asked for too."""

    logprobs: bool
    token_ids: bool


def client_wants(request: Mapping[str, Any], *, is_chat: bool) -> Wants:
    """Read from a request what must stay in its answer."""
    logprobs = request.get("logprobs")
    return Wants(
        logprobs=bool(logprobs) if is_chat else logprobs is not None and logprobs is not False,
        token_ids=bool(request.get("return_token_ids")),
    )


def ask_for_evidence(request: Json, *, is_chat: bool) -> Json:
    """Return the request with token ids and log-probabilities asked for, whatever the client wanted.

    >>> ask_for_evidence({"prompt": "a"}, is_chat=False)
    {'prompt': 'a', 'return_token_ids': True, 'logprobs': 0}
    """
    asked = {**request, "return_token_ids": True}
    if is_chat:
        asked["logprobs"] = True
    elif asked.get("logprobs") is None or asked["logprobs"] is False:
        asked["logprobs"] = 0  # the sampled token's own, without alternatives
    return asked


def without_strict(request: Json) -> Json:
    """Return the request with no tool marked `strict`, so that sampling stays the model's own.

    >>> without_strict({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]})
    {'tools': [{'type': 'function', 'function': {'name': 'f'}}]}
    """
    tools = request.get("tools")
    if not isinstance(tools, list) or not any(_is_strict(tool) for tool in tools):
        return request
    return {**request, "tools": [_loose(tool) if _is_strict(tool) else tool for tool in tools]}


def _is_strict(tool: object) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), dict) and "strict" in tool["function"]


def _loose(tool: Json) -> Json:
    return {**tool, "function": {name: value for name, value in tool["function"].items() if name != "strict"}}


@dataclass
class Choice:
    """One choice as recorded."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: dict[int, Json] = field(default_factory=dict)
    """By position in the message: id, name and arguments, the latter as text."""

    finish_reason: str | None = None
    prompt_token_ids: list[int] | None = None
    """Of plain completions, which may be asked for of several prompts at once."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass
class Recording:
    """Everything the evidence needs of one answer."""

    id: str | None = None
    model: str | None = None
    prompt_token_ids: list[int] | None = None
    choices: dict[int, Choice] = field(default_factory=dict)
    error: str | None = None
    """Type of an error that came in the middle of a stream."""

    usage: dict[str, Any] = field(default_factory=dict)
    """Tokens as who answered counts them, `input_tokens` and `output_tokens`: it matters where no ids are named."""

    def read(self, body: Mapping[str, Any]) -> None:
        """Take in a whole answer or the next chunk of one."""
        self.id = body.get("id") or self.id
        self.model = body.get("model") or self.model
        if isinstance(error := body.get("error"), dict):
            self.error = str(error.get("type") or "error")
        self.read_usage(body)
        self._read_prompt(body)
        for choice in body.get("choices") or ():
            self._read_prompt(choice)
            self._read_choice(choice)

    def read_usage(self, body: Mapping[str, Any]) -> None:
        """Take in counts of tokens, whichever of OpenAI's APIs names them."""
        if isinstance(usage := body.get("usage"), dict):
            self.usage = {
                "input_tokens": usage.get("input_tokens", usage.get("prompt_tokens")),
                "output_tokens": usage.get("output_tokens", usage.get("completion_tokens")),
            }

    def _read_prompt(self, holder: Mapping[str, Any]) -> None:
        if self.prompt_token_ids is None and holder.get("prompt_token_ids"):
            self.prompt_token_ids = holder["prompt_token_ids"]

    def _read_choice(self, body: Mapping[str, Any]) -> None:
        choice = self.choices.setdefault(body.get("index", 0), Choice())
        message = body.get("message") or body.get("delta") or {}
        choice.text += message.get("content") or body.get("text") or ""
        choice.reasoning += message.get("reasoning") or message.get("reasoning_content") or ""
        choice.refusal += message.get("refusal") or ""
        for position, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            kept = choice.tool_calls.setdefault(call.get("index", position), {"id": None, "name": "", "arguments": ""})
            kept["id"] = call.get("id") or kept["id"]
            kept["name"] += function.get("name") or ""
            kept["arguments"] += function.get("arguments") or ""
        choice.finish_reason = body.get("finish_reason") or choice.finish_reason
        choice.prompt_token_ids = choice.prompt_token_ids or body.get("prompt_token_ids") or None
        choice.token_ids.extend(body.get("token_ids") or ())
        choice.logprobs.extend(_sampled_logprobs(body.get("logprobs") or {}))


def split_prompts(request: Mapping[str, Any], recording: Recording) -> list[tuple[Mapping[str, Any], Recording]]:
    """Return request and record of each prompt of a completion; most have one.

    Choices are numbered through: those of the second prompt begin at `n`. Records after the first have their number
    behind the answer's id.
    """
    prompts, num_choices = request.get("prompt"), request.get("n") or 1
    if not isinstance(prompts, list) or not prompts or isinstance(prompts[0], int):
        return [(request, recording)]
    if type(num_choices) is not int or not 0 <= max(recording.choices, default=-1) < len(prompts) * num_choices:
        return [(request, recording)]
    by_prompt: dict[int, dict[int, Choice]] = {}
    for index, choice in sorted(recording.choices.items()):
        by_prompt.setdefault(index // num_choices, {})[index % num_choices] = choice
    return [
        (
            {**request, "prompt": prompts[place]},
            replace(
                recording,
                id=recording.id if place == 0 or recording.id is None else f"{recording.id}-{place}",
                prompt_token_ids=next((one.prompt_token_ids for one in choices.values() if one.prompt_token_ids), None),
                choices=choices,
            ),
        )
        for place, choices in by_prompt.items()
    ]


def _sampled_logprobs(logprobs: Mapping[str, Any]) -> list[float]:
    if logprobs.get("token_logprobs") is not None:  # completions
        return [value for value in logprobs["token_logprobs"] if value is not None]
    return [entry["logprob"] for entry in logprobs.get("content") or ()]


def strip(body: Json, wants: Wants) -> Json | None:
    """Take out, in place, what the client did not ask for; None when a chunk says nothing more after that.

    The engine sends a chunk for every token when ids are asked for, also while a tool parser holds the text back; it
    would not have sent those to a client that did not ask.

    >>> chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "token_ids": [7], "logprobs": {"content": []}}]}
    >>> strip(chunk, Wants(logprobs=False, token_ids=False))
    {'choices': [{'index': 0, 'delta': {'content': 'a'}, 'logprobs': None}]}
    >>> strip({"choices": [{"index": 0, "delta": {}, "token_ids": [7]}]}, Wants(logprobs=False, token_ids=False))
    """
    choices = body.get("choices") or []
    if not wants.token_ids:
        body.pop("prompt_token_ids", None)
        for choice in choices:
            choice.pop("token_ids", None)
            choice.pop("prompt_token_ids", None)
    if not wants.logprobs:
        for choice in choices:
            if "logprobs" in choice:
                choice["logprobs"] = None
    if choices and not wants.token_ids and not body.get("usage") and all(_says_nothing(choice) for choice in choices):
        return None
    return body


def _says_nothing(choice: Mapping[str, Any]) -> bool:
    if choice.get("finish_reason") or choice.get("logprobs") or "message" in choice:
        return False
    if "delta" in choice:
        return not any(value is not None for value in choice["delta"].values())
    return not choice.get("text")
