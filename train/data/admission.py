"""The rung of each logged call, and why one is context only: expressions over the rows of transitions."""

from fnmatch import fnmatchcase

import polars as pl

from etl.schema import Evidence, Grade, SetAside

IDS = ("prompt_token_ids", "response_token_ids")


def with_agents(names: pl.Series, patterns: tuple[str, ...]) -> list[str]:
    """Return the names that any of the patterns matches; all of them where there is no pattern."""
    return [name for name in names.unique() if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def disown(rows: pl.DataFrame, *, tokenizer: str | None, versions: frozenset[str]) -> pl.DataFrame:
    """Take the ids from calls whose ids are not ours, and leave them their text, as another model's.

    Ids are ours when the tokenizer that made them is the model's own, by its digest. Where no digest is on record they
    are when the model or an ancestor sampled them, or when log-probabilities stand beside them: a comparison with the
    model's own then decides. The same number means another text in another vocabulary.
    """
    digest, grade = pl.col("tokenizer_digest"), pl.col("evidence")
    unsaid = pl.col("policy_version").is_in(sorted(versions)).fill_null(False) | (grade == Grade.A.value)
    is_ours = unsaid if tokenizer is None else pl.when(digest.is_null()).then(unsaid).otherwise(digest == tokenizer)
    has_ids = pl.col(IDS[0]).is_not_null() & grade.is_in([Grade.A.value, Grade.B.value])
    rows = rows.with_columns(is_disowned=(has_ids & ~is_ours.fill_null(False)).fill_null(False))
    return rows.with_columns(
        *(pl.when(~pl.col("is_disowned")).then(pl.col(name)) for name in (*IDS, "behavior_logprobs")),
        evidence=pl.when(pl.col("is_disowned")).then(pl.lit(Grade.D.value)).otherwise(grade),
    )


TRUNCATES = (
    (pl.col("top_p").fill_null(1.0) < 1) | (pl.col("top_k").fill_null(0) > 0) | (pl.col("min_p").fill_null(0.0) > 0)
)
"""A call was sampled from a part of the distribution."""

IS_RAW = (pl.col("logprobs_mode") == "raw").fill_null(False) & ((pl.col("temperature") != 1) | TRUNCATES)
"""What is on record is not of the distribution that was sampled from."""


def rung_of(policies: frozenset[str] | None, own_version: str | None) -> pl.Expr:
    """Return the rung of `Evidence` of each call.

    `policies` are the versions whose calls are trained, None for all; `own_version` that of the model whose weights are
    at hand. With them the kept set of a truncated distribution can be computed, and log-probabilities that were not
    recorded; a call with log-probabilities whose version nobody named is compared with the model's own anyway.
    """
    grade, version = pl.col("evidence"), pl.col("policy_version")
    is_ancestor = version.is_in(sorted(policies or ())).fill_null(False)
    is_own = version.is_in([own_version]).fill_null(False) & pl.col("temperature").is_not_null()
    at_hand = is_own | (pl.lit(own_version is not None) & (version.is_null() | pl.lit(policies is None)))
    has_ids = grade.is_in([Grade.A.value, Grade.B.value]).fill_null(False)
    is_exact = grade == Grade.A.value
    return (
        pl.when((grade == Grade.C.value).fill_null(False))
        .then(pl.lit(Evidence.TEXT.value))
        .when(~has_ids | (~is_exact & ~(is_ancestor | is_own)))
        .then(pl.lit(Evidence.FOREIGN.value))
        .when(_lost().is_not_null())
        .then(pl.lit(Evidence.CUT.value))
        .when(is_exact & ~IS_RAW & (~TRUNCATES | at_hand))
        .then(pl.lit(Evidence.EXACT.value))
        .when(is_own)
        .then(pl.lit(Evidence.RESCORED.value))
        .when(TRUNCATES | IS_RAW)
        .then(pl.lit(Evidence.CUT.value))
        .otherwise(pl.lit(Evidence.IDS.value))
    )


def _lost() -> pl.Expr:
    """Return why no weights could tell the distribution that was sampled from, null where some could."""
    return (
        pl.when(pl.col("temperature") <= 0)
        .then(pl.lit(SetAside.GREEDY.value))
        .when(pl.col("logprobs_mode") == "masked")
        .then(pl.lit(SetAside.MASKED.value))
    )


def why_set_aside(
    agents: list[str],
    policies: frozenset[str] | None,
    admits: frozenset[Evidence],
    *,
    vocabulary_size: int,
    max_length: int,
) -> pl.Expr:
    """Return the first reason that applies for a call to be context only, null when it can be trained."""
    prompt, response, logprobs = (pl.col(name) for name in (*IDS, "behavior_logprobs"))
    rung, has_ratio = pl.col("rung"), pl.col("rung") == Evidence.EXACT.value
    is_other = pl.lit(False) if policies is None else ~pl.col("policy_version").is_in(sorted(policies))
    ids_fit = pl.all_horizontal(
        (ids.list.min() >= 0) & (ids.list.max() < vocabulary_size) & ~ids.list.contains(None)
        for ids in (prompt, response)
    )
    logprobs_fit = (logprobs.list.len() == response.list.len()) & logprobs.list.eval(
        pl.element().is_finite().fill_null(False)
    ).list.all()
    temperature_fits = pl.col("temperature").is_finite()
    cut = pl.coalesce(
        _lost(),
        pl.when(TRUNCATES)
        .then(pl.lit(SetAside.TRUNCATED_SAMPLING.value))
        .otherwise(pl.lit(SetAside.RAW_LOGPROBS.value)),
    )
    return (
        pl.when(pl.col("outcome").is_null() | ~pl.col("outcome").is_finite())
        .then(pl.lit(SetAside.NO_OUTCOME.value))
        .when(~pl.col("agent").is_in(agents))
        .then(pl.lit(SetAside.OTHER_AGENT.value))
        .when((pl.col("evidence") == Grade.A.value).fill_null(False) & is_other.fill_null(False))
        .then(pl.lit(SetAside.OTHER_POLICY.value))
        .when(pl.col("is_disowned") & prompt.is_null())
        .then(pl.lit(SetAside.OTHER_TOKENIZER.value))
        .when(~rung.is_in(sorted(admits)) & (rung == Evidence.CUT.value))
        .then(cut)
        .when(~rung.is_in(sorted(admits)))
        .then(pl.lit(SetAside.NOT_EXACT.value))
        .when(rung.is_in([Evidence.TEXT.value, Evidence.FOREIGN.value]) & (prompt.is_null() | response.is_null()))
        .then(pl.lit(SetAside.UNRENDERED.value))
        .when(~ids_fit.fill_null(False) | (has_ratio & ~(logprobs_fit & temperature_fits).fill_null(False)))
        .then(pl.lit(SetAside.MALFORMED.value))
        .when(prompt.list.len() + response.list.len() > max_length)
        .then(pl.lit(SetAside.TOO_LONG.value))
    )
