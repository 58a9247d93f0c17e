"""Our own gateway: GenAI attributes, and the token ids, log-probabilities and policy version only it can know."""

import re

from etl.dialects.conventions import genai
from etl.dialects.shapes.number_lists import Ids, Logprobs, integers, numbers
from etl.dialects.shapes.values import Attributes, number_of, text_of
from etl.dialects.spans import LlmCall, Span
from otel_exporter import schema as names

DIALECT = "gateway"


def recognises(span: Span) -> bool:
    """Tell whether the span speaks this dialect."""
    return span.scope == names.GATEWAY_SCOPE


def read(span: Span) -> LlmCall | None:
    """Read a model call with everything the engine said about it."""
    attributes = span.attributes
    if attributes.get(genai.OPERATION) not in genai.CALL_OPERATIONS:
        return None
    call = genai.read_call(span, DIALECT)
    call.prompt_token_ids = integers(attributes.get(names.PROMPT_TOKEN_IDS))
    call.response_token_ids, call.behavior_logprobs = _sampled(attributes, 0)
    num_choices = max(len(call.output or ()), _num_sampled(attributes))  # texts may be left to the agent's own spans
    if num_choices > 1:
        call.sampled = [_sampled(attributes, index) for index in range(num_choices)]
    call.logprobs_mode = text_of(attributes, names.LOGPROBS_MODE)
    call.policy_version = text_of(attributes, names.POLICY_VERSION)
    call.tokenizer_digest = text_of(attributes, names.TOKENIZER_DIGEST)
    call.chat_template_digest = text_of(attributes, names.CHAT_TEMPLATE_DIGEST)
    min_p = number_of(attributes, names.REQUEST_MIN_P)
    if min_p is not None:
        call.params["min_p"] = min_p
    return call


def _num_sampled(attributes: Attributes) -> int:
    """Return how many choices there are up to the last one with token ids."""
    name = re.compile(re.escape(names.CHOICE_TOKEN_IDS).replace(re.escape("{index}"), r"(\d+)"))
    found = [int(match[1]) for match in map(name.fullmatch, attributes) if match is not None]
    return max(found, default=-1) + 1


def _sampled(attributes: Attributes, index: int) -> tuple[Ids | None, Logprobs | None]:
    """Return a choice's token ids and log-probabilities."""
    ids, logprobs = names.CHOICE_TOKEN_IDS.format(index=index), names.CHOICE_LOGPROBS.format(index=index)
    return integers(attributes.get(ids)), numbers(attributes.get(logprobs))
