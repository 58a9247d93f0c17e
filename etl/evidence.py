"""The one ladder of what is known of how a call was sampled, and why a call stands on none of its rungs.

    EXACT     A      the log-probabilities of the very distribution
    RESCORED  B      ids of the model in training, which can say the log-probabilities itself
    IDS       B      ids of an ancestor
    CUT       A, B   ids of a distribution that is lost
    TEXT      C      text of our own model family
    FOREIGN   D      text of another model

The ETL sees the record alone: it publishes a grade, A to D. The trainer, which has weights at hand, puts each call on
its rung; each rung down admits fewer losses. A call below what its loss needs, or one that cannot be used at all, is
context only, set aside for a reason.
"""

from enum import StrEnum


class Grade(StrEnum):
    """What is on record of how an action was sampled: the column `evidence` of `transitions`."""

    A = "A"
    """Token ids, log-probabilities and sampling parameters."""

    B = "B"
    """Token ids only."""

    C = "C"
    """Text of our own model family."""

    D = "D"
    """Text of another model."""


class Evidence(StrEnum):
    """A rung of the ladder, as the model in training sees a call; losses are chosen by it. From the top down."""

    EXACT = "exact"
    """Ids and the log-probabilities of the very distribution they were drawn from (grade A)."""

    RESCORED = "rescored"
    """Ids sampled by the model in training: it can say the log-probabilities itself (grade B)."""

    IDS = "ids"
    """Ids sampled by an ancestor of the model (grade B)."""

    CUT = "cut"
    """Ids, but the distribution was greedy, masked, or cut by weights that are not at hand, and what was left of it is
    not on record (grade A or B)."""

    TEXT = "text"
    """Text of our own model family, rendered with the model's template (grade C)."""

    FOREIGN = "foreign"
    """Text of another model (grade D), or ids of our tokenizer by a policy nobody knows (B)."""


class SetAside(StrEnum):
    """Why a call is context only: its tokens are not trained, its rewards still count for the calls before it."""

    NO_OUTCOME = "no_outcome"
    """Nobody rewarded its episode."""

    OTHER_AGENT = "other_agent"
    """Its agent is not among those to train."""

    OTHER_POLICY = "other_policy"
    """A policy sampled it that is no near ancestor of the model."""

    NOT_EXACT = "not_exact"
    """It stands on a lower rung than the loss needs: no token ids, or no log-probabilities."""

    UNRENDERED = "unrendered"
    """Text or foreign, and the model's chat template does not write it so that it reads back the same."""

    OTHER_TOKENIZER = "other_tokenizer"
    """Its ids are of another tokenizer, or of one nobody named, and there is no text to make ours of."""

    GREEDY = "greedy"
    """Cut: at temperature 0 nothing was sampled, so nothing else had a probability."""

    TRUNCATED_SAMPLING = "truncated_sampling"
    """Cut: by top_p, top_k or min_p and weights that are not at hand; which tokens were left is unknown."""

    RAW_LOGPROBS = "raw_logprobs"
    """Cut: log-probabilities from before temperature and truncation, by weights that are not at hand."""

    MASKED = "masked"
    """Cut: a grammar, bias or penalty moved the distribution in ways that neither ids nor sampling parameters tell."""

    MALFORMED = "malformed"
    """Ids and log-probabilities of unequal length, none at all, ids outside the vocabulary, or no temperature."""

    TOO_LONG = "too_long"
    """More tokens than the model has positions."""
