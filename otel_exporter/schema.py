"""Names of the span attributes and events through which the loop closes. Imports nothing.

Names that OpenTelemetry's GenAI conventions define are used as they are
(https://github.com/open-telemetry/semantic-conventions-genai); `spanloop.*` names are ours, for what the conventions do
not have yet: token ids, log-probabilities and the version of the policy that sampled them.
"""

SCHEMA_VERSION = 1

# --- what an agent may set, all optional
EPISODE_ID = "spanloop.episode.id"
"""Joins the spans of one attempt at one task, across traces. Default: the trace."""

TASK_ID = "spanloop.task.id"
"""Groups attempts at the same task. Default: a hash of the agent's first observation."""

SPLIT = "spanloop.split"
"""`heldout` keeps the episode out of training, for good. Default: by hash of the task, as the ETL is configured."""

AGENT_NAME = "gen_ai.agent.name"
"""Name of the agent (role) a call belongs to. Default: the nearest agent span above."""

# --- rewards
EVALUATION_EVENT = "gen_ai.evaluation.result"
"""A reward: as an event on the judged span, or as a log record with the judged span's ids."""

EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_SCORE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"

OUTCOME = "outcome"
"""Name of the reward that says how the episode ended, unless configuration names another."""

# --- what the gateway writes on its own span
GATEWAY_SCOPE = "spanloop.gateway"
"""Instrumentation scope of the gateway's spans."""

PROMPT_TOKEN_IDS = "spanloop.prompt.token_ids"  # noqa: S105 - a name, not a secret
"""int[]: the ids of the whole prompt, as the engine saw them."""

CHOICE_TOKEN_IDS = "spanloop.choice.{index}.token_ids"  # noqa: S105
"""int[]: the sampled ids of one choice, end-of-sequence token included."""

CHOICE_LOGPROBS = "spanloop.choice.{index}.logprobs"
"""double[]: natural log-probability of each sampled id under the behavior policy; same length as its token ids."""

LOGPROBS_MODE = "spanloop.logprobs.mode"
"""`processed`: after temperature and truncation, the distribution that was sampled from. `raw`: before both.
`masked`: processed, but a grammar, a bias or a penalty cut the distribution beyond what the parameters say."""

CHOICE_TEXT_MATCHES = "spanloop.choice.{index}.text_matches"
"""bool: whether the sampled ids, decoded, are the text of the answer. Where they are not, log-probabilities are left
out: the ids are no evidence of what the agent saw."""

POLICY_VERSION = "spanloop.policy.version"
"""Id of the checkpoint (and adapter) that sampled the answer."""

POLICY_BASE = "spanloop.policy.base"
"""Version of the whole model under it, where the policy is an adapter."""

CANARY_ARM = "spanloop.canary.arm"
"""`live` or `canary`: which of two checkpoints a call was given to, while a canary runs. Absent otherwise."""

CANARY_UNIT = "spanloop.canary.unit"
"""16 hex digits: a keyed hash of what was given to that arm as a whole: a user, else an episode, else a trace."""

REPLAY = "spanloop.replay"
"""Name of a replay: a logged state was asked anew, to try a model or a prompt. What is on such a span or below it is
nobody's work and never becomes a transition."""

ANSWERED_BY = "spanloop.answered_by"
"""`student` or `hosted`: who answered, where a hosted model stands behind the gateway's own. Absent otherwise."""

HANDOVER_ARM = "spanloop.handover.arm"
HANDOVER_UNIT = "spanloop.handover.unit"
"""As `spanloop.canary.*`, while users are handed over from the hosted model (`live`) to the student (`canary`)."""

FALLBACK_REASON = "spanloop.fallback.reason"
"""Why the hosted model answered: `away`, `failed`, `too_long`, `share`, or the check that the student's answer did not
pass."""

PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"
"""The prompt a call was answered under: weights and prompt together are the policy. The gateway's are an agent's name
and a number, 0 for the message the agent itself sends."""

PROMPT_ARM = "spanloop.prompt.arm"
PROMPT_UNIT = "spanloop.prompt.unit"
"""As `spanloop.canary.*`, while a version of a prompt is tried."""

CALLER_PROJECT = "spanloop.caller.project"
"""Project of the API key the call came with, where the gateway asks for keys."""

TOKENIZER_DIGEST = "spanloop.tokenizer.digest"
CHAT_TEMPLATE_DIGEST = "spanloop.chat_template.digest"
"""First 16 hex digits of the sha256 of tokenizer.json and of the chat template."""

REQUEST_MIN_P = "spanloop.request.min_p"
"""Sampling parameter without a name in the conventions; the others are `gen_ai.request.*`."""

REQUEST_REPETITION_PENALTY = "spanloop.request.repetition_penalty"
"""The same, for a penalty only some engines have."""

# --- what the tracker writes on the span of a model call, beside the conventions' names
REQUEST_BODY = "spanloop.request.body"
"""JSON text: the request as it was sent."""

RESPONSE_BODY = "spanloop.response.body"
"""JSON text: the answer as it came; a stream put together to what the same API answers without one."""

RESPONSE_PARTIAL = "spanloop.response.partial"
"""bool: the answer was not read to its end: left early, cancelled, or broken off."""

# --- what the stages between an agent and the receiver did to a span
REDACTED = "spanloop.redacted"
"""int: how many values of this span (its events' included) had secrets or personal data replaced by placeholders."""

CUT = "spanloop.cut"
"""int: how many values of this span were shortened, or lost media, on the way. Each says so itself too."""
