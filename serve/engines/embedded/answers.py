"""Requests to the embedded engine and its answers, in the shape of OpenAI's API with vLLM's additions."""

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from serve.engines.embedded.chat import BadConversation, ToolCall, ToolCallStream, encode_conversation, parse_tool_calls
from serve.engines.embedded.forms import read_form
from serve.engines.embedded.generation import Token, prompt_logprobs
from serve.engines.embedded.models import GrowingAnswer, Job, Piece, Sampler, Weights
from serve.engines.embedded.parameters import check_parameters
from serve.sampling import UnsupportedParameter, parse_sampling

MAX_CHOICES = 128
MAX_ROWS = 1024
"""Choices of all prompts of a request together."""


class PromptTooLong(ValueError):
    """A prompt leaves no room for an answer; said in the words clients look for."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


RESERVED = {"tokenize", "tools", "conversation", "chat_template", "return_dict", "return_tensors", "documents"}
"""What templates get from the engine, and nobody else."""


def read_job(engine: Sampler, request: Mapping[str, Any], *, is_chat: bool) -> Job:
    """Understand a request; raise `ValueError` with a message for the client."""
    check_parameters(request)
    weights = engine.find(request.get("model"))
    stream_options = _read_stream_options(request)
    if is_chat:
        prompts = [read_conversation(engine, request)]
        parse_tools = bool(request.get("tools")) and request.get("tool_choice") != "none"
    else:
        prompts = _read_prompts(engine, weights, request.get("prompt"))
        parse_tools = False
    for prompt in prompts:
        if not 0 < len(prompt) < weights.max_length:
            raise PromptTooLong(
                "messages" if is_chat else "prompt",
                f"This model's maximum context length is {weights.max_length} tokens, and the prompt has "
                f"{len(prompt)}: it and at least one token of an answer must fit.",
            )
    room = weights.max_length - min(len(prompt) for prompt in prompts)
    num_choices = 1 if request.get("n") is None else request["n"]
    if type(num_choices) is not int or not 1 <= num_choices <= MAX_CHOICES:
        raise UnsupportedParameter("n", f"must be between 1 and {MAX_CHOICES}")
    if len(prompts) * num_choices > MAX_ROWS:
        raise UnsupportedParameter("prompt", f"asks for more than {MAX_ROWS} choices together")
    # Completions answer 16 tokens when nothing is said, chat as many as there is room for: OpenAI's own defaults.
    asked = request if is_chat or request.get("max_tokens") is not None else {**request, "max_tokens": 16}
    sampling = parse_sampling(asked, default_max_tokens=room)
    form = read_form(request, _read_tools(request) if is_chat else None, engine.special_tokens)
    logprobs = request.get("logprobs")
    return Job(
        id=f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}",
        is_chat=is_chat,
        model=request["model"],
        weights=weights,
        prompts=prompts,
        sampling=sampling,
        num_choices=num_choices,
        stream=bool(request.get("stream")),
        include_usage=bool(stream_options.get("include_usage")),
        logprobs=bool(logprobs) if is_chat else logprobs is not None and logprobs is not False,
        token_ids=bool(request.get("return_token_ids")),
        prompt_logprobs=request.get("prompt_logprobs") is not None,
        parse_tools=parse_tools,
        form=form,
        is_named=isinstance(choice := request.get("tool_choice"), dict) and choice.get("type") == "function",
        created=int(time.time()),
    )


def read_conversation(engine: Sampler, request: Mapping[str, Any]) -> list[int]:
    """Return the prompt ids of the messages, tools and rendering a request names."""
    tools = _read_tools(request)
    return encode_conversation(engine.tokenizer, request.get("messages"), tools, **_read_rendering(request))


def _read_stream_options(request: Mapping[str, Any]) -> dict[str, Any]:
    options = request.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise UnsupportedParameter("stream_options", "must be an object")
    if not request.get("stream"):
        raise UnsupportedParameter("stream_options", "is for streamed answers: stream must be true")
    return options


def _read_tools(request: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    tools = request.get("tools")
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UnsupportedParameter("tools", "must be a list of objects")
    for index, tool in enumerate(tools):
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UnsupportedParameter(f"tools[{index}]", "is not a function with a name")
    return tools


def _read_rendering(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the conversation is to be written: with an open turn, with the last message open, with what else."""
    goes_on = bool(request.get("continue_final_message"))
    opens_turn = request.get("add_generation_prompt")
    if goes_on and opens_turn:
        raise UnsupportedParameter("continue_final_message", "and add_generation_prompt exclude each other")
    extra = request.get("chat_template_kwargs") or {}
    if not isinstance(extra, dict) or set(extra) & RESERVED:
        raise UnsupportedParameter("chat_template_kwargs", f"must be an object without {', '.join(sorted(RESERVED))}")
    opens_turn = (not goes_on) if opens_turn is None else bool(opens_turn)
    return {**extra, "add_generation_prompt": opens_turn, "continue_final_message": goes_on}


def _read_prompts(engine: Sampler, weights: Weights, prompt: object) -> list[list[int]]:
    """Read a text, a list of ids, or a list of several of either."""
    is_many = isinstance(prompt, list) and prompt and type(prompt[0]) is not int
    prompts: list[object] = prompt if isinstance(prompt, list) and is_many else [prompt]
    return [_read_prompt(engine, weights, each) for each in prompts]


def _read_prompt(engine: Sampler, weights: Weights, prompt: object) -> list[int]:
    if isinstance(prompt, str):
        ids: list[int] = engine.tokenizer.encode(prompt)
        return ids
    return read_ids(weights, prompt, "prompt")


def read_ids(weights: Weights, ids: object, name: str) -> list[int]:
    """Return a list of ids of a model's own vocabulary; raise `BadConversation`, which names it, for anything else."""
    size = weights.vocabulary_size
    if isinstance(ids, list) and all(type(item) is int and 0 <= item < size for item in ids):
        return ids
    raise BadConversation(name, "must be text or token ids of this model, or a list of such")


def _token_text(engine: Sampler, token_id: int) -> str:
    text: str = engine.tokenizer.decode([token_id])
    return text


def describe_logprobs(engine: Sampler, job: Job, tokens: list[Token]) -> dict[str, Any] | None:
    """Return the log-probabilities of tokens as an answer has them; null where nobody asked."""
    if not job.logprobs:
        return None
    if job.is_chat:

        def entry(token_id: int, logprob: float) -> dict[str, Any]:
            text = _token_text(engine, token_id)
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        return {
            "content": [
                {
                    **entry(token.id, token.logprob),
                    "top_logprobs": [entry(token_id, logprob) for token_id, logprob in token.top],
                }
                for token in tokens
            ]
        }
    texts = [_token_text(engine, token.id) for token in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {text: token.logprob} | {_token_text(engine, token_id): logprob for token_id, logprob in token.top}
            for text, token in zip(texts, tokens, strict=True)
        ],
        "text_offset": [0] * len(tokens),
    }


def _usage(job: Job, num_sampled: int) -> dict[str, int]:
    num_prompt = sum(len(prompt) for prompt in job.prompts)
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_sampled,
        "total_tokens": num_prompt + num_sampled,
    }


def _head(job: Job, kind: str) -> dict[str, Any]:
    return {"id": job.id, "object": kind, "created": job.created, "model": job.model}


def _message(job: Job, choice: GrowingAnswer) -> tuple[dict[str, Any], str | None]:
    content: str | None = choice.text
    calls: list[ToolCall] = []
    if job.parse_tools:
        content, calls = parse_tool_calls(choice.text)
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [call.as_openai() for call in calls]
    return message, _finish_reason(job, choice, calls)


def _finish_reason(job: Job, choice: GrowingAnswer, calls: list[ToolCall]) -> str | None:
    # Of a call that the request named, OpenAI and vLLM say `stop`.
    return "tool_calls" if calls and choice.finish_reason == "stop" and not job.is_named else choice.finish_reason


async def answer_whole(engine: Sampler, job: Job) -> dict[str, Any]:
    """Return the answer to a request, when all of it is there."""
    choices: dict[int, GrowingAnswer] = {}
    async with contextlib.aclosing(engine.sample(job)) as pieces:
        async for piece in pieces:
            choices[piece.choice.index] = piece.choice
    bodies = []
    for _, choice in sorted(choices.items()):
        body: dict[str, Any] = {"index": choice.index, "logprobs": describe_logprobs(engine, job, choice.tokens)}
        if job.is_chat:
            body["message"], body["finish_reason"] = _message(job, choice)
        else:
            body["text"], body["finish_reason"] = choice.text, choice.finish_reason
        if job.token_ids:
            body["token_ids"] = choice.ids
            if not job.is_chat:
                body["prompt_token_ids"] = choice.prompt
        bodies.append(body)
    answer = {**_head(job, "chat.completion" if job.is_chat else "text_completion"), "choices": bodies}
    answer["usage"] = _usage(job, sum(len(choice.ids) for choice in choices.values()))
    if job.token_ids and job.is_chat:
        answer["prompt_token_ids"] = job.prompts[0]
    if job.prompt_logprobs:
        tables = [await _score_prompt(job, prompt) for prompt in job.prompts]
        for holder in [answer] if job.is_chat else bodies:
            holder["prompt_logprobs"] = tables[holder.get("index", 0) // job.num_choices]
    return answer


async def _score_prompt(job: Job, prompt: list[int]) -> list[dict[str, Any] | None]:
    scores = await job.weights.generator.when_idle(lambda batch: prompt_logprobs(batch.model, prompt))
    return [None, *({str(i): {"logprob": p, "rank": r}} for i, (p, r) in zip(prompt[1:], scores, strict=True))]


async def stream_answer(engine: Sampler, job: Job) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the chunks of a streamed answer; ids and log-probabilities ride on the chunk of their own token."""
    kind = "chat.completion.chunk" if job.is_chat else "text_completion"
    splitters = [ToolCallStream() for _ in range(job.num_choices)]
    if job.is_chat:
        for index in range(job.num_choices):
            first = {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
            chunk = {**_head(job, kind), "choices": [{**first, "logprobs": None}]}
            yield chunk | ({"prompt_token_ids": job.prompts[0]} if job.token_ids and index == 0 else {})
    num_sampled = 0
    async with contextlib.aclosing(engine.sample(job)) as pieces:
        async for piece in pieces:
            choice = piece.choice
            num_sampled += 1
            body: dict[str, Any] = {"index": choice.index, "finish_reason": choice.finish_reason}
            body["logprobs"] = describe_logprobs(engine, job, [piece.token])
            if job.token_ids:
                body["token_ids"] = [piece.token.id]
                if not job.is_chat:
                    body["prompt_token_ids"] = choice.prompt if len(choice.ids) == 1 else None
            if job.is_chat:
                body["delta"], body["finish_reason"] = read_delta(job, piece, splitters[choice.index])
            else:
                body["text"] = piece.text
            yield {**_head(job, kind), "choices": [body]}
    if job.include_usage:
        yield {**_head(job, kind), "choices": [], "usage": _usage(job, num_sampled)}


def read_delta(job: Job, piece: Piece, splitter: ToolCallStream) -> tuple[dict[str, Any], str | None]:
    """Return what a sampled token adds to a message, tool calls once they are whole, and why the message ends."""
    choice = piece.choice
    content = piece.text
    calls: list[ToolCall] = []
    if job.parse_tools:
        content = splitter.add(piece.text)
        if choice.finish_reason is not None:
            rest, calls = splitter.finish()
            content += rest
    delta: dict[str, Any] = {"content": content} if content else {}
    if calls:
        delta["tool_calls"] = [{"index": index, **call.as_openai()} for index, call in enumerate(calls)]
    return delta, _finish_reason(job, choice, calls)
