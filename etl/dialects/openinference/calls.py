"""Model calls in OpenInference's attributes."""

from typing import Any

from etl.dialects.conventions import genai
from etl.dialects.frameworks import crewai, langgraph
from etl.dialects.openinference import messages
from etl.dialects.openinference.shared import DIALECT, ROUTED_SCOPES, error_told
from etl.dialects.platforms import litellm
from etl.dialects.shapes import client_dump, exchanges, gemini, langchain
from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import has_content, join_answers
from etl.dialects.shapes.messages.tools import definitions
from etl.dialects.shapes.reprs import read_repr
from etl.dialects.shapes.values import (
    complete_usage,
    integer_of,
    number_of,
    text_of,
    usage_of,
)
from etl.dialects.shapes.wording import (
    alias_of,
    api_of_client,
    asked_for,
    names_a_stream,
    plain_model,
    restore_wording,
    uncached_usage,
)
from etl.dialects.spans import LlmCall, Message, Span
from etl.dialects.structure.renditions import holds

API_BY_NAME = {
    "ChatCompletion": "chat.completions",
    "generation": "chat.completions",
    "Response": "responses",
    "response": "responses",
    "Completion": "completions",
    "responses": "responses",
    "aresponses": "responses",
}
"""Span names of the client libraries that tell which API was called."""

ANTHROPIC = ".anthropic"


FIRST_CHUNK = "First Token Stream Event"
"""The event by which the client libraries' instrumentations mark a stream."""

AUTOGEN = ".autogen_agentchat"

ASKED_SCOPES = (".agno", ".bedrock", ".dspy", ".litellm", ".llama_index", ".smolagents")
"""Libraries that set `llm.model_name` before the answer: to the model asked for."""


def _names_requested_model(span: Span) -> bool:
    """Tell whether `llm.model_name` is the requested model; openai-agents' is for chat completions, as LiteLLM's."""
    if span.scope.endswith(".openai_agents"):
        return span.name == "generation"
    if crewai.is_listener(span):
        return True
    return span.scope.endswith(ASKED_SCOPES) and API_BY_NAME.get(span.name) != "responses"


def read_call(span: Span) -> LlmCall:
    """Read a model call: what the library indexed, and the client's own JSON in input and output."""
    attributes = span.attributes
    invocation = decode(attributes.get("llm.invocation_parameters"))
    asked, recorded = attributes.get("input.value"), _unwrapped(attributes.get("output.value"))
    request = gemini.read_request(asked) or client_dump.read_request(asked)
    response = client_dump.read_response(recorded) or gemini.read_response(recorded)
    response = response or client_dump.salvage_response(recorded)
    indexed_input = messages.indexed_input(attributes) or messages.indexed_prompts(attributes)
    indexed_output = messages.indexed_output(attributes) or messages.indexed_completions(attributes)
    call = LlmCall(span, DIALECT)
    call.provider = text_of(attributes, "llm.provider", "llm.system")
    call.conversation_id = text_of(attributes, "session.id")
    metadata = langgraph.metadata_of(attributes)
    call.agent = text_of(metadata, "lc_agent_name")
    call.tools = messages.indexed_tools(attributes)
    call.truncated = span.dropped_attributes > 0
    call.usage = usage_of(
        input_tokens=integer_of(attributes, "llm.token_count.prompt"),
        output_tokens=integer_of(attributes, "llm.token_count.completion"),
        cached_input_tokens=integer_of(attributes, "llm.token_count.prompt_details.cache_read"),
        reasoning_tokens=integer_of(attributes, "llm.token_count.completion_details.reasoning"),
    )
    if "anthropic" in (call.provider or ""):
        cache_write = integer_of(attributes, "llm.token_count.prompt_details.cache_write")
        call.usage = uncached_usage(call.usage, cache_write)
    call.model_returned = text_of(attributes, "llm.response.model_name")
    call.model_requested = text_of(attributes, "llm.request.model_name")
    model = text_of(attributes, "llm.model_name")
    if isinstance(invocation, dict):
        if str(invocation.get("id", "")).startswith("resp_"):
            _read_echo(call, invocation)
        else:
            call.params = client_dump.sampling_params(invocation)
            call.model_requested = call.model_requested or text_of(invocation, "model", "model_name")
            if invocation.get("stream") is True:
                call.streamed = True
        if call.tools is None:
            call.tools = definitions(invocation.get("tools"))
    _add_langchain(call, metadata)
    _add_request(call, request, indexed_input)
    if "automatic_function_calling_history" in str(recorded):
        call.input = gemini.read_history(recorded) or call.input
    call.told = client_dump.history_facts(asked)
    _add_response(call, response, indexed_output, text_of(attributes, "llm.finish_reason"))
    if span.scope.endswith(AUTOGEN):
        _add_autogen(call, decode(recorded))
    if crewai.is_listener(span):
        crewai.complete(call)
    if span.failed and span.scope.endswith(AUTOGEN):  # it names the dated model that it takes the alias to be
        call.model_requested = call.model_requested or alias_of(model)
    if call.model_requested is None and _names_requested_model(span):
        call.model_requested = model
    if call.model_returned is None and model is not None:
        is_answered = call.output is not None or call.usage is not None
        if is_answered and model != call.model_requested and not _names_requested_model(span):
            call.model_returned = model
        elif call.model_requested is None:
            call.model_requested = model
    if span.scope.endswith(ANTHROPIC):
        call.api = "messages"
    if call.api is None or api_of_client(span.name) == "responses":  # whose messages Agno converts
        call.api = API_BY_NAME.get(span.name) or api_of_client(span.name)
    if call.usage is not None and not call.usage["input_tokens"] and not call.usage["output_tokens"]:
        call.usage = None  # AutoGen's zeros of a stream without usage
    if span.scope.endswith(".litellm") and litellm.OWN_ID.fullmatch(call.response_id or ""):
        call.response_id = None
    if span.scope.endswith(ROUTED_SCOPES):
        call.model_requested, call.model_returned = plain_model(call.model_requested), plain_model(call.model_returned)
    reason = text_of(attributes, "llm.finish_reason")
    call.finish_reasons = [reason] if reason is not None else []
    if reason is not None and len(call.output or ()) == 1:
        for message in call.output or ():
            message["finish_reason"] = message["finish_reason"] or reason
    restore_wording(call)
    if call.streamed is None and (names_a_stream(span.name) or any(e.get("name") == FIRST_CHUNK for e in span.events)):
        call.streamed = True
    if span.failed and not genai.is_incomplete(span.status_message):
        call.error = error_told(span)
        if call.error["code"] is None:
            call.error["code"] = text_of(langchain.read_error(recorded), "code", "type")
        if call.response_id is None and call.model_returned is not None:
            call.model_requested = call.model_requested or call.model_returned
            call.model_returned = None
        if call.output is not None and not any(has_content(message) for message in call.output):
            call.output = None
    return call


def _unwrapped(recorded: Any) -> Any:  # noqa: ANN401 - any attribute value
    """Return a client's response without what some writers put around it, or in place of it.

    Mistral's streams are below `data`; smolagents keeps the client's object as `raw`, in Python's repr.
    """
    if not isinstance(recorded, str) or not recorded.startswith(('{"data"', '{"role"')):
        return recorded
    value = decode(recorded)
    if not isinstance(value, dict):
        return recorded
    if isinstance(value.get("data"), dict):
        return value["data"]
    raw = read_repr(value.get("raw"))
    return raw if isinstance(raw, dict) else recorded


def _add_langchain(call: LlmCall, metadata: dict[str, Any]) -> None:
    """Add what LangChain's own metadata of a call says of the request, where the client's parameters leave it out."""
    call.model_requested = call.model_requested or text_of(metadata, "ls_model_name")
    if (temperature := number_of(metadata, "ls_temperature")) is not None:
        call.params.setdefault("temperature", temperature)
    limit = integer_of(metadata, "ls_max_tokens")
    if limit is not None and not any(name.endswith("_tokens") for name in call.params):
        call.params["max_tokens"] = limit


def _add_autogen(call: LlmCall, result: Any) -> None:  # noqa: ANN401 - any JSON value
    """Add what AutoGen's own result says: why it ended, and the text beside tool calls, which it calls a thought."""
    if not isinstance(result, dict) or not call.output:
        return
    reason = text_of(result, "finish_reason")
    call.output[0]["finish_reason"] = call.output[0]["finish_reason"] or (None if reason == "unknown" else reason)
    if call.output[0]["text"] is None:
        call.output[0]["text"] = text_of(result, "thought")


def _read_echo(call: LlmCall, echo: dict[str, Any]) -> None:
    """Read what openai-agents puts in place of the parameters: the whole answer, which repeats the request's.

    Sampling parameters in it are the provider's defaults as much as what was asked for.
    """
    call.api = "responses"
    call.response_id = text_of(echo, "id")
    call.model_returned = call.model_returned or text_of(echo, "model")
    call.params |= asked_for(client_dump.sampling_params(echo))
    instructions = text_of(echo, "instructions")
    if instructions is not None:  # there also where capturing content was switched off
        call.input = [{"role": "system", "text": instructions}]


def _add_request(call: LlmCall, request: exchanges.Request | None, indexed: list[Message] | None) -> None:
    if request is not None:
        call.api = request.api
        call.model_requested = request.model or call.model_requested
        call.tools = request.tools or call.tools
        call.params = {**call.params, **request.params}
        call.streamed = request.streamed if request.streamed is not None else call.streamed
    recorded = (request.input or None) if request is not None else None
    if recorded is not None and messages.has_gaps(call.span.attributes):
        indexed = None
    if recorded and indexed and indexed[0]["role"] == "system" and recorded[0]["role"] != "system":
        recorded = [indexed[0], *recorded]  # openai-agents: the instructions are no part of the input
    is_whole = recorded is not None and (
        indexed is None or len(recorded) <= len(indexed) or call.truncated or holds(recorded, indexed)
    )
    if is_whole:
        call.input = recorded  # where the SDK dropped attributes, the oldest first, indexed messages are missing
    elif indexed is not None:
        call.input = indexed
    elif call.input is not None:
        call.pieced.add("input")


def _add_response(
    call: LlmCall, response: exchanges.Response | None, indexed: list[Message] | None, finish_reason: str | None
) -> None:
    if response is None or response.output is None:
        call.output = indexed
        if response is not None:
            call.response_id, call.api = response.response_id, response.api
            call.model_returned = response.model or call.model_returned
        if call.output and call.api == "responses":
            call.output = join_answers(call.output)
        if call.output and finish_reason is not None and call.output[0]["finish_reason"] is None:
            call.output[0]["finish_reason"] = finish_reason
        return
    call.api = response.api or call.api
    call.output = response.output
    call.streamed = response.streamed if call.streamed is None else call.streamed
    call.model_returned = response.model or call.model_returned
    call.response_id = response.response_id or call.response_id
    call.usage = complete_usage(response.usage, call.usage)
    if response.instructions and call.input is not None and not any(m["role"] == "system" for m in call.input):
        call.input = [{"role": "system", "text": response.instructions}, *call.input]
