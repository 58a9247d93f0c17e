"""The columns of the published tables: meaning, unit and what null means. Published by `etl.schema`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a published table."""

    name: str
    type: str
    """Polars type, spelled as in `polars.Schema`: `String`, `Int64`, `List(Int32)`, …"""

    description: str


PROJECT = Column("project", "String", "tenant of the spans it was made of; never null")
TRACE_ID = Column("trace_id", "String", "trace of its span, 32 hex digits; never null")
SPAN_ID = Column(
    "span_id", "String", "its span, 16 hex digits; of a call seen by several layers the one told most; never null"
)
PARENT = Column("parent_span_id", "String", "parent of its span, 16 hex digits; null for a root")
EPISODE_ID = Column("episode_id", "String", "episode it belongs to; never null")
START = Column("start_ns", "Int64", "when its span began, nanoseconds since 1970, UTC; never null")
END = Column("end_ns", "Int64", "when its span ended, nanoseconds since 1970, UTC; never null")
DIALECT = Column("dialect", "String", "which reader understood its span (docs/dialects.md); never null")
PROMPT_IDS = Column("prompt_token_ids", "List(Int32)", "token ids the model was given; null where not recorded")
RESPONSE_IDS = Column(
    "response_token_ids",
    "List(Int32)",
    "token ids the model sampled, of the choice that is the action; null where not recorded",
)
LOGPROBS = Column(
    "behavior_logprobs",
    "List(Float32)",
    "log-probability (natural) of each sampled token under the policy that sampled it; null where not recorded",
)
LOGPROBS_MODE = Column(
    "logprobs_mode",
    "String",
    "which distribution `behavior_logprobs` are of: raw, or processed by temperature and cuts; null where not recorded",
)
POLICY = Column("policy_version", "String", "checkpoint that answered, as the gateway names it; null for other servers")
TOKENIZER = Column("tokenizer_digest", "String", "digest of the tokenizer the ids are of; null where not recorded")
TEMPLATE = Column(
    "chat_template_digest", "String", "digest of the chat template of the prompt; null where not recorded"
)
PROMPT_NAME = Column("prompt_name", "String", "prompt its request was made with, as named by its span")
PROMPT_VERSION = Column(
    "prompt_version",
    "String",
    "its version: weights and prompt together answered; the gateway's 0 is the agent's own; null where none is named",
)
PARAMS = Column("params", "String", "JSON object of the sampling parameters that are recorded; empty where none is")
MEDIA = Column(
    "media",
    "String",
    "JSON array of the messages with images or other media: position of the message and all parts of its content in "
    "order, media as they were sent, with a digest (none where one was not recorded); null where there are none",
)
REVISION = Column(
    "revision",
    "Int64",
    "last request (`received_seq`) that told of the episode; grows when late spans change it; never null",
)
SPLIT = Column("split", "String", "side of the hold-out: train or heldout; never null")
SPLIT_GROUP = Column(
    "split_group", "String", "digest of what the side was taken by; null where the span itself or the time decided"
)

LLM_CALLS = (
    PROJECT,
    TRACE_ID,
    SPAN_ID,
    PARENT,
    EPISODE_ID,
    START,
    END,
    DIALECT,
    Column("scope_name", "String", "instrumentation scope that wrote the span; null where it has none"),
    Column(
        "api", "String", "chat.completions, responses, messages, completions, embeddings or gemini; null where unknown"
    ),
    Column("agent", "String", "role that made the call; null where nothing names one"),
    Column("provider", "String", "who serves the model, in the writer's words; null where not recorded"),
    Column("model_requested", "String", "model the request names; null where not recorded"),
    Column("model_returned", "String", "model the answer names; null where not recorded"),
    Column("streamed", "Boolean", "the answer came as a stream; null where not recorded"),
    PARAMS,
    Column(
        "tools",
        "String",
        "JSON array of the tools on offer: name, description, parameters; null where none is recorded",
    ),
    Column(
        "input",
        "String",
        "JSON array of the messages the model was shown, those the provider held included; null where not recorded",
    ),
    MEDIA,
    Column("output", "String", "JSON array of the answers, one for each choice; null where there is none"),
    Column(
        "choice", "Int32", "position in `output` of the answer that was gone on from, from 0; null without an answer"
    ),
    Column("usage", "String", "JSON object of token counts as the API counts them; null where not recorded"),
    Column("response_id", "String", "the provider's id of the answer; null where not recorded"),
    Column(
        "previous_response_id", "String", "response whose history the request continues; null where it holds its own"
    ),
    Column("conversation_id", "String", "conversation or session the span names; null where it names none"),
    Column("error", "String", "JSON object: http_status, code, message, type; null where the call did not fail"),
    PROMPT_IDS,
    RESPONSE_IDS,
    LOGPROBS,
    LOGPROBS_MODE,
    POLICY,
    TOKENIZER,
    TEMPLATE,
    PROMPT_NAME,
    PROMPT_VERSION,
    Column(
        "truncated", "Boolean", "the SDK cut values or dropped attributes, so messages may not be whole; never null"
    ),
    Column(
        "merged_span_ids",
        "List(String)",
        "other spans of the same call, seen by other layers; empty where there are none",
    ),
    Column(
        "ancestor_span_ids",
        "List(String)",
        "spans above its span, the nearest first; empty for a root, null in parts that are older than the column",
    ),
)

TOOL_CALLS = (
    PROJECT,
    TRACE_ID,
    Column(
        "span_id",
        "String",
        "its span, 16 hex digits; of one that only messages tell of, the span of the call; never null",
    ),
    PARENT,
    EPISODE_ID,
    START,
    END,
    DIALECT,
    Column("agent", "String", "role whose call asked for it; null where unknown"),
    Column("name", "String", "name of the tool; null where not recorded"),
    Column("tool_call_id", "String", "id the model's request for it has; null where not recorded"),
    Column("arguments", "String", "JSON of what it was called with; null where not recorded"),
    Column("result", "String", "what it returned, as text; null where it failed or the result is not recorded"),
    Column("error", "String", "why it failed, in its own words; null where nothing says that it failed"),
    Column("caused_by_span_id", "String", "model call that asked for it; null where none is found"),
    Column("attribution_rule", "String", "rule that found that call (docs/etl.md); null where none did"),
)

REWARDS = (
    PROJECT,
    Column(
        "trace_id",
        "String",
        "trace it was given with, 32 hex digits; a stand-in where it names an answer or session alone",
    ),
    Column("span_id", "String", "span it was given with or names, 16 hex digits; null where it names none"),
    Column("episode_id", "String", "episode it judges something of; null where that is not known"),
    Column(
        "judges", "String", "what it was given to: call, run, trace, episode, session or signal; null where not found"
    ),
    Column("judged_trace_id", "String", "trace of what it judges, where that is another than its own; else null"),
    Column("judged_span_id", "String", "span of what it judges; null for a whole trace, episode or session"),
    Column("names", "String", "JSON object of the ids it names what it judges by; null where it names none"),
    Column("name", "String", "name of the score, `(unnamed)` where it has none; never null"),
    Column("value", "Float64", "the score; null where it is no finite number"),
    Column("label", "String", "verdict in words; null where there is none"),
    Column("explanation", "String", "the judge's reason; null where there is none"),
    Column(
        "source",
        "String",
        "how it came: span_event, log_record, span_attribute, agentlightning or sql:<file>; never null",
    ),
    Column("time_ns", "Int64", "when it was given, nanoseconds since 1970, UTC; never null"),
    Column("used", "Boolean", "it counts in the reward of a transition or episode; never null"),
    Column("reason", "String", "why it is used or not; never null"),
)

EPISODES = (
    PROJECT,
    EPISODE_ID,
    Column("session_id", "String", "session that joins its history with others'; null where it is in none"),
    Column("trace_ids", "List(String)", "traces it is made of, in order of id; never empty"),
    Column("root_name", "String", "name of its first root span; null where that has none"),
    Column("root_span_id", "String", "that span, 16 hex digits; never null"),
    Column("service_name", "String", "service of that span; null where it names none"),
    Column("start_ns", "Int64", "when its first span began, nanoseconds since 1970, UTC; never null"),
    Column("end_ns", "Int64", "when its last span ended, nanoseconds since 1970, UTC; never null"),
    Column(
        "task_id", "String", "task it is an attempt at, given or a hash of the first observation; null without either"
    ),
    Column("agents", "List(String)", "roles that made calls in it, in order of name"),
    Column("num_spans", "Int64", "spans it is made of"),
    Column("num_transitions", "Int64", "calls of it that are transitions; other choices are not counted"),
    Column("outcome", "Float64", "score of how it ended, in the unit it was given in; null where none was given"),
    Column("is_complete", "Boolean", "its root has ended and no parent is missing; never null"),
    Column("stop_reason", "String", "that of its last transition; null without one"),
    REVISION,
    Column("first_seq", "Int64", "first request (`received_seq`) that held a span of it; never null"),
    SPLIT,
    SPLIT_GROUP,
    Column(
        "split_signature",
        "List(Int64)",
        "MinHash of its question, to find near tasks; null where it was taken otherwise",
    ),
)


def _signal(name: str, meaning: str) -> Column:
    return Column(
        f"reward_{name}",
        "Float64",
        f"weighted signal, before `air_scale`: {meaning}; null where not measured or switched off",
    )


TRANSITIONS = (
    PROJECT,
    EPISODE_ID,
    TRACE_ID,
    SPAN_ID,
    Column("agent", "String", "role that acted; null where nothing names one"),
    Column(
        "step",
        "Int32",
        "position among the transitions of its episode, from 0: as requests prove, else as calls began; choices of one "
        "call have the same",
    ),
    Column("task_id", "String", "task the role was at, given or a hash of its first observation; never null"),
    REVISION,
    START,
    END,
    Column(
        "observation",
        "String",
        "state: JSON array of all messages the model was shown, whole; null where only its token ids are recorded",
    ),
    MEDIA,
    Column(
        "tools",
        "String",
        "JSON array of the tools on offer, part of the state; null where the offer is not recorded whole",
    ),
    Column(
        "action",
        "String",
        "JSON object of the answer, of several choices the one gone on from; null where only ids are known",
    ),
    Column(
        "choice",
        "Int32",
        "position of the action among the choices of its call, from 0; null in parts that are older than the column",
    ),
    Column("finish_reason", "String", "why the answer ended, in the provider's words; null where not recorded"),
    Column(
        "next_observation",
        "String",
        "what its agent was shown in its next call: the one that goes on from this request and answer, else "
        "the first that began after it; null where there is none (`done`)",
    ),
    Column("next_span_id", "String", "span of that call; null where there is none"),
    Column(
        "done",
        "Boolean",
        "no later call of its agent in the episode goes on from it: nothing is bootstrapped behind it; it does not "
        "say that the task succeeded, nor that the episode is complete (`stop_reason` does); never null",
    ),
    Column(
        "stop_reason",
        "String",
        "why it is the last: end, length, error or incomplete; not_taken for a choice that was not gone on from "
        "(`--other-choices`); null where it is not",
    ),
    PROMPT_IDS,
    RESPONSE_IDS,
    LOGPROBS,
    LOGPROBS_MODE,
    Column("temperature", "Float64", "sampling temperature; null where not recorded"),
    Column("top_p", "Float64", "share of probability sampled from; null where not recorded"),
    Column("top_k", "Int64", "number of tokens sampled from; null where not recorded"),
    Column("min_p", "Float64", "least probability, as a share of the largest, sampled from; null where not recorded"),
    PARAMS,
    Column("behavior_model", "String", "model that answered, else the one asked for; null where neither is recorded"),
    POLICY,
    TOKENIZER,
    TEMPLATE,
    PROMPT_NAME,
    PROMPT_VERSION,
    Column(
        "reward",
        "Float64",
        "reward of this step: all its parts together; null where nothing is known of it, never 0 instead",
    ),
    Column("reward_outcome", "Float64", "the episode's outcome, on its last step; null elsewhere or without one"),
    Column("reward_step", "Float64", "scores given to this very call, added up; null without one"),
    _signal("tool_status", "its tool calls that ended in an error"),
    _signal("argument_schema", "share of its tool calls that do not fit the tools on offer"),
    _signal("output_format", "an answer that is not the JSON it was asked to be"),
    _signal("repetition", "share of its tool calls made before alike"),
    _signal("retry", "the very same was asked again"),
    _signal("waste", "nothing later used its answer"),
    _signal("user_reply", "what the user said next of its answer"),
    _signal("latency", "its time over the budget"),
    _signal("tokens", "its answer's tokens over the budget"),
    _signal("progress", "change in the estimated outcome"),
    Column(
        "signals", "String", "JSON object of everything measured of it, unweighted, by signal; empty where nothing was"
    ),
    Column(
        "air_scale",
        "Float64",
        "factor on its episode's signals that keeps outcomes in order; 1 unless the bound was reached",
    ),
    Column("outcome", "Float64", "score of how its episode ended; null where none was given"),
    Column(
        "return_",
        "Float64",
        "rewards from here to the end of the episode, discounted by step; null where none is known",
    ),
    Column(
        "evidence",
        "String",
        "what is known of the sampling: A ids and log-probabilities, B ids, C own text, D foreign text",
    ),
    SPLIT,
    SPLIT_GROUP,
    Column("user_id", "String", "user the spans name; null where they name none"),
    Column("session_id", "String", "session of its episode; null where it is in none"),
)

REJECTED = (
    PROJECT,
    Column("trace_id", "String", "trace of the span, 32 hex digits; null where the span has none"),
    Column("span_id", "String", "the span, 16 hex digits; null where it has none"),
    Column("stage", "String", "where it was set aside: clean (the span) or transitions (the call); never null"),
    Column("reason", "String", "why, one of `etl.schema.RejectReason`, or no_identity or duplicate; never null"),
    Column("detail", "String", "more on that; null where there is nothing"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "llm_calls": LLM_CALLS,
    "tool_calls": TOOL_CALLS,
    "rewards": REWARDS,
    "episodes": EPISODES,
    "transitions": TRANSITIONS,
    "rejected": REJECTED,
}
