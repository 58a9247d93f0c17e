"""The Responses API on the embedded engine: a chat request asked another way, and its answer as OpenAI's events.

A whole answer is what the last event of a stream holds. Nothing is stored, so that nothing can be gone back to.
"""

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serve.api.answers import Json
from serve.api.responses import as_chat, client_wants
from serve.engines.embedded.answers import describe_logprobs, read_delta, read_job
from serve.engines.embedded.chat import BadConversation, ToolCallStream
from serve.engines.embedded.models import GrowingAnswer, Job, Sampler
from serve.engines.embedded.parameters import HONOURED, check_response_parameters
from serve.sampling import UnsupportedParameter

ITEMS = ("message", "function_call", "function_call_output", "reasoning")
ECHOED = ("instructions", "max_output_tokens", "metadata", "temperature", "top_p", "user", "safety_identifier")
"""What a response repeats of its request as it was."""

NAMES = {"response_format": "text.format", "max_tokens": "max_output_tokens"}
"""What this API calls parameters of chat."""


@dataclass(frozen=True)
class ResponseJob:
    """A request of the Responses API, understood."""

    request: Mapping[str, Any]
    chat: Job
    has_messages: bool
    """Whether the answer is to hold token ids, as `input_messages` and `output_messages`."""


def read_response_job(engine: Sampler, request: Mapping[str, Any]) -> ResponseJob:
    """Understand a request; raise `ValueError` with a message for the client."""
    check_response_parameters(request)
    _check_input(request.get("input"))
    for name, kind, words in (("instructions", str, "a text"), ("tools", list, "a list"), ("include", list, "a list")):
        if request.get(name) is not None and not isinstance(request[name], kind):
            raise UnsupportedParameter(name, f"must be {words}")
    if not all(isinstance(tool, dict) for tool in request.get("tools") or ()):
        raise UnsupportedParameter("tools", "must be a list of objects")
    wants = client_wants(request)
    chat = {name: value for name, value in as_chat(request).items() if name in HONOURED}
    chat["logprobs"] = wants.logprobs
    if not wants.logprobs:
        chat.pop("top_logprobs", None)  # alternatives to nothing
    try:
        job = read_job(engine, chat, is_chat=True)
    except UnsupportedParameter as error:
        raise error.of(NAMES.get(error.param, error.param)) from error
    form = job.form and replace(job.form, param=NAMES.get(job.form.param, job.form.param))
    return ResponseJob(request, replace(job, id=_new_id("resp"), form=form), wants.token_ids)


def _check_input(asked: object) -> None:
    """Refuse what `as_chat` would leave out of the conversation."""
    if isinstance(asked, str):
        return
    if not isinstance(asked, list) or not asked:
        raise BadConversation("input", "must be a text, or a list of items that is not empty")
    for index, item in enumerate(asked):
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind not in ITEMS:
            raise BadConversation(
                f"input[{index}]", f"is none of the items the embedded engine knows: {', '.join(ITEMS)}"
            )
        if kind == "function_call" and not all(isinstance(item.get(name), str) for name in ("name", "arguments")):
            raise BadConversation(f"input[{index}]", "is a function_call without name or arguments")


async def response_events(engine: Sampler, job: ResponseJob) -> AsyncGenerator[Json, None]:
    """Yield the events of an answer, numbered; the last one holds all of it."""
    answer = _Answer(engine, job)
    number = 0
    async with contextlib.aclosing(_events(engine, job, answer)) as events:
        async for event in events:
            yield {**event, "sequence_number": number}
            number += 1


async def _events(engine: Sampler, job: ResponseJob, answer: "_Answer") -> AsyncGenerator[Json, None]:
    for kind in ("response.created", "response.in_progress"):
        yield {"type": kind, "response": answer.response("in_progress")}
    splitter = ToolCallStream()
    calls: list[Json] = []
    async with contextlib.aclosing(engine.sample(job.chat)) as pieces:
        async for piece in pieces:
            answer.choice = piece.choice
            answer.add_logprobs(describe_logprobs(engine, job.chat, [piece.token]))
            delta, _ = read_delta(job.chat, piece, splitter)
            calls = delta.get("tool_calls") or []
            for event in answer.add_text(delta.get("content") or ""):
                yield event
    for event in answer.close_message(is_needed=not calls):
        yield event
    for call in calls:
        for event in answer.add_call(call):
            yield event
    yield {"type": f"response.{answer.status}", "response": answer.response(answer.status)}


@dataclass
class _Answer:
    """A response as it grows."""

    engine: Sampler
    job: ResponseJob
    choice: GrowingAnswer = field(default_factory=lambda: GrowingAnswer(0))
    items: list[Json] = field(default_factory=list)
    text: str = ""
    message_id: str | None = None
    """Of the message, once there is text."""

    logprobs: list[Json] = field(default_factory=list)
    num_logprobs_sent: int = 0

    @property
    def status(self) -> str:
        return "incomplete" if self.choice.finish_reason == "length" else "completed"

    def add_logprobs(self, described: Json | None) -> None:
        self.logprobs += [] if described is None else described["content"]

    def add_text(self, text: str) -> Iterator[Json]:
        if not text:
            return
        if self.message_id is None:
            yield from self._open_message()
        self.text += text
        entries = self.logprobs[self.num_logprobs_sent :]
        self.num_logprobs_sent = len(self.logprobs)
        yield {**self._place("response.output_text.delta"), "delta": text, "logprobs": entries}

    def _open_message(self) -> Iterator[Json]:
        self.message_id = _new_id("msg")
        item = {**self._message("in_progress"), "content": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        yield {**self._place("response.content_part.added"), "part": {**self._part(), "logprobs": []}}

    def close_message(self, *, is_needed: bool) -> Iterator[Json]:
        """End the message; one without text is opened where the answer would hold nothing else."""
        if self.message_id is None:
            if not is_needed:
                return
            yield from self._open_message()
        item = self._message(self.status)
        yield {**self._place("response.output_text.done"), "text": self.text, "logprobs": self.logprobs}
        yield {**self._place("response.content_part.done"), "part": self._part()}
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}
        self.items.append(item)

    def _message(self, status: str) -> Json:
        content = [self._part()]
        return {
            "type": "message", "id": self.message_id, "role": "assistant", "status": status, "content": content,
        }  # fmt: skip

    def _part(self) -> Json:
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": list(self.logprobs)}

    def _place(self, kind: str) -> Json:
        return {"type": kind, "item_id": self.message_id, "output_index": 0, "content_index": 0}

    def add_call(self, call: Json) -> Iterator[Json]:
        """Add a whole tool call."""
        function = call["function"]
        named = {"type": "function_call", "id": _new_id("fc"), "call_id": call["id"], "name": function["name"]}
        item = {**named, "arguments": function["arguments"], "status": "completed"}
        place = {"output_index": len(self.items)}
        within = {**place, "item_id": named["id"]}
        growing = {**named, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", **place, "item": growing}
        yield {"type": "response.function_call_arguments.delta", **within, "delta": item["arguments"]}
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **within, **done}
        yield {"type": "response.output_item.done", **place, "item": item}
        self.items.append(item)

    def response(self, status: str) -> Json:
        """Return the response as it stands."""
        request, chat = self.job.request, self.job.chat
        is_over = status != "in_progress"
        return {
            **{name: request.get(name) for name in ECHOED},
            "id": chat.id,
            "object": "response",
            "created_at": chat.created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "model": chat.model,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": list(self.items),
            "usage": self._usage() if is_over else None,
            "tools": request.get("tools") or [],
            "tool_choice": request.get("tool_choice") or "auto",
            "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
            "text": {"format": (request.get("text") or {}).get("format") or {"type": "text"}},
            "top_logprobs": chat.sampling.num_top_logprobs,
            "reasoning": None,
            "truncation": "disabled",
            "background": False,
            "store": False,
            "previous_response_id": None,
            "service_tier": "default",
            **(self._messages() if is_over and self.job.has_messages else NO_MESSAGES),
        }

    def _messages(self) -> Json:
        prompt = self.job.chat.prompts[0]
        sampled = self._raw(self.choice.ids)
        if self.job.chat.logprobs:
            sampled["logprobs"] = [token.logprob for token in self.choice.tokens]
        return {"input_messages": [self._raw(prompt)], "output_messages": [sampled]}

    def _raw(self, ids: list[int]) -> Json:
        return {"type": "raw_message_tokens", "message": self.engine.tokenizer.decode(ids), "tokens": ids}

    def _usage(self) -> Json:
        num_prompt, num_sampled = len(self.job.chat.prompts[0]), len(self.choice.ids)
        return {
            "input_tokens": num_prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": num_sampled,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": num_prompt + num_sampled,
        }


NO_MESSAGES: Json = {"input_messages": None, "output_messages": None}


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
