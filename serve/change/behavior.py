"""Whether new weights still behave: the same held-out prompts, answered with the old weights and with the new.

Looks at form, not at quality: that tool calls can be read, that their arguments fit the tools' schemas, that answers
are neither refusals nor of another length. Quality is for the evaluation before and the canary after.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from foundation.errors import GateRefused, SettingsError
from foundation.files import write_atomically
from foundation.settings import Settings
from serve.admission import Serving
from serve.api.form import CALL_MARKS, REFUSALS, fits
from serve.change.heldout import Prompt, prompts_digest
from serve.schema import encode_file, read_file
from serve.settings import GateConfig

SIGNIFICANCE = 0.05
"""Chance that one measure of an unchanged model is refused, at most: by the exact sign test over prompts."""

CONCURRENCY = 16


class BehaviorRefused(GateRefused):
    """The new weights do not behave as the old ones; those are back."""


@dataclass(frozen=True)
class Answer:
    """The form of one answer. An answer without a tool call is parsed and valid."""

    num_tokens: int
    is_called: bool
    """It calls a tool, or tries to."""

    is_parsed: bool
    """No tool call was left in the text, unread."""

    is_valid: bool
    """Every tool call names a tool that was offered, with arguments that fit its schema."""

    is_refused: bool
    is_cut: bool
    """It was still going on at the longest length allowed."""


def read_answer(body: dict[str, Any], prompt: Prompt) -> Answer:
    """Return the form of a chat completion."""
    choice = body["choices"][0]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    text = message.get("content") or ""
    is_parsed = not (prompt.tools and CALL_MARKS.search(text))
    return Answer(
        num_tokens=body["usage"]["completion_tokens"],
        is_called=bool(calls) or not is_parsed,
        is_parsed=is_parsed,
        is_valid=all(fits(call, prompt.schemas) for call in calls),
        is_refused=bool(message.get("refusal") or (not calls and REFUSALS.match(text))),
        is_cut=choice.get("finish_reason") == "length",
    )


async def ask_all(
    serving: Serving, prompts: Sequence[Prompt], *, max_tokens: int, sampling: dict[str, float | int]
) -> list[Answer | None]:
    """Ask a model every prompt; null where the engine does not take it (too long, say).

    Sampled as agents' calls are, each prompt with a seed of its own, so that old and new weights draw alike.
    """
    if find_spec("jsonschema") is None:  # known before an engine works for nothing
        raise SettingsError(
            "checking tool arguments needs jsonschema", hint="pip install 'spanloop[serve]', or --gate-prompts 0"
        )
    room = asyncio.Semaphore(CONCURRENCY)

    async def ask(place: int, prompt: Prompt) -> Answer | None:
        body = {
            "model": serving.model,
            "messages": prompt.messages,
            "max_tokens": max_tokens,
            "seed": place,
            **sampling,
            **({"tools": prompt.tools} if prompt.tools else {}),
        }
        async with room:
            status, answer = await serving.engine.chat(body)
        return read_answer(answer, prompt) if status == 200 else None

    return await asyncio.gather(*(ask(place, prompt) for place, prompt in enumerate(prompts)))


@dataclass(frozen=True)
class Measure:
    """One thing that is compared, prompt by prompt."""

    name: str
    value: Callable[[Answer], float]
    is_good: bool
    """More is better; else less is."""

    tolerance: str
    """Setting that says by how much the mean may get worse."""

    with_tools_only: bool = False


MEASURES = (
    Measure("parsed", lambda answer: answer.is_parsed, is_good=True, tolerance="max_parse_drop", with_tools_only=True),
    Measure("valid", lambda answer: answer.is_valid, is_good=True, tolerance="max_schema_drop", with_tools_only=True),
    Measure("called", lambda answer: answer.is_called, is_good=True, tolerance="max_call_drop", with_tools_only=True),
    Measure("refused", lambda answer: answer.is_refused, is_good=False, tolerance="max_refusal_rise"),
    Measure("cut", lambda answer: answer.is_cut, is_good=False, tolerance="max_cut_rise"),
)


def sign_test(num_worse: int, num_better: int) -> float:
    """Return how likely at least so many of the prompts that changed got worse, if either way were as likely.

    One-sided and exact, as in McNemar's test on pairs; 1 when none changed.

    >>> sign_test(5, 0), sign_test(0, 0)
    (0.03125, 1.0)
    """
    changed = num_worse + num_better
    return float(sum(math.comb(changed, count) for count in range(num_worse, changed + 1)) / 2**changed)


class Comparison(Settings):
    """One measure with both weights."""

    before: float
    """Mean over the prompts with the weights that are live."""

    after: float
    """The same with the new weights."""

    tolerance: float
    """By how much the second may be worse; for the length, the factor it may differ by."""

    p_value: float
    """How likely so many prompts got worse by chance."""

    passed: bool
    """False when it is worse than tolerated, and not by chance."""


class BehaviorReport(Settings):
    """What became of the held-out prompts; kept at DATA/serve/gates/<version>.json."""

    weights_digest: str
    """sha256 of the weights that were judged: the report speaks of no others."""

    compared_version: str
    """Policy version whose answers they were compared with."""

    evaluated_time: str
    """UTC, ISO 8601."""

    prompts_digest: str
    """sha256 over the prompts, in order."""

    num_prompts: int
    """Prompts that both weights answered."""

    measures: dict[str, Comparison]
    """By name: answered, parsed, valid, called, refused, cut, length."""

    passed: bool
    """Whether no measure was refused; true where there was nothing to ask."""

    reasons: list[str]
    """What was refused and by how much, or why nothing was asked."""

    @property
    def verdict(self) -> bool | None:
        """Whether it passed; None where neither weights answered anything."""
        return self.passed if self.measures else None


def compare(
    prompts: Sequence[Prompt],
    before: Sequence[Answer | None],
    after: Sequence[Answer | None],
    config: GateConfig,
) -> dict[str, Comparison]:
    """Compare answers of old and new weights to the same prompts, measure by measure.

    A measure nothing can be said of (no prompt offers tools) is left out. A prompt only one of them answered counts for
    `answered` alone, one the engine takes from neither not at all.
    """
    answered = [
        (prompt, old, new)
        for prompt, old, new in zip(prompts, before, after, strict=True)
        if old is not None and new is not None
    ]
    found: dict[str, Comparison] = {}
    taken = [(old is not None, new is not None) for old, new in zip(before, after, strict=True) if old or new]
    if taken:
        found["answered"] = _compare([(float(old), float(new)) for old, new in taken], sign=1, tolerance=0.0)
    for measure in MEASURES:
        pairs = [
            (measure.value(old), measure.value(new))
            for prompt, old, new in answered
            if prompt.tools or not measure.with_tools_only
        ]
        if pairs:
            sign, tolerance = 1 if measure.is_good else -1, float(getattr(config, measure.tolerance))
            found[measure.name] = _compare(pairs, sign=sign, tolerance=tolerance)
    if answered:
        found["length"] = _compare_length([(old.num_tokens, new.num_tokens) for _, old, new in answered], config)
    return found


def _compare(pairs: Sequence[tuple[float, float]], *, sign: int, tolerance: float) -> Comparison:
    """Compare one measure before and after, prompt by prompt; `sign` is 1 where more is better, else -1."""
    drops = [sign * (old - new) for old, new in pairs]
    chance = sign_test(sum(drop > 0 for drop in drops), sum(drop < 0 for drop in drops))
    return Comparison(
        before=_mean([old for old, _ in pairs]),
        after=_mean([new for _, new in pairs]),
        tolerance=tolerance,
        p_value=chance,
        passed=_mean(drops) <= tolerance or chance > SIGNIFICANCE,
    )


def _compare_length(pairs: Sequence[tuple[int, int]], config: GateConfig) -> Comparison:
    before, after = _mean([old for old, _ in pairs]), _mean([new for _, new in pairs])
    longer, shorter = sum(new > old for old, new in pairs), sum(new < old for old, new in pairs)
    # Either way is worse, so the chance is that of the way it went, twice.
    chance = min(1.0, 2 * (sign_test(longer, shorter) if after > before else sign_test(shorter, longer)))
    factor = max(after, 1.0) / max(before, 1.0)
    within = 1 / config.max_length_factor <= factor <= config.max_length_factor
    return Comparison(
        before=before,
        after=after,
        tolerance=config.max_length_factor,
        p_value=chance,
        passed=within or chance > SIGNIFICANCE,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def judge(
    prompts: Sequence[Prompt],
    before: Sequence[Answer | None],
    after: Sequence[Answer | None],
    config: GateConfig,
    *,
    weights_digest: str,
    compared_version: str,
) -> BehaviorReport:
    """Return the report on new weights."""
    measures = compare(prompts, before, after, config)
    reasons = [
        f"{name} {found.after:.3g}, {found.before:.3g} before (tolerance {found.tolerance:g}, p {found.p_value:.2g})"
        for name, found in measures.items()
        if not found.passed
    ]
    return BehaviorReport(
        weights_digest=weights_digest,
        compared_version=compared_version,
        evaluated_time=datetime.now(UTC).isoformat(),
        prompts_digest=prompts_digest(list(prompts)),
        num_prompts=sum(old is not None and new is not None for old, new in zip(before, after, strict=True)),
        measures=measures,
        passed=not reasons,
        reasons=reasons if measures else ["no held-out prompt that the engine takes"],
    )


def report_path(data: Path, version: str) -> Path:
    """Return where the report on a checkpoint is kept."""
    return data / "serve" / "gates" / f"{version}.json"


def keep_report(data: Path, version: str, report: BehaviorReport) -> None:
    """Write a report down, whole or not at all."""
    write_atomically(report_path(data, version), encode_file(report))


def read_report(data: Path, version: str) -> BehaviorReport | None:
    """Return the report on a checkpoint, or None when it was never asked anything."""
    return read_file(report_path(data, version), BehaviorReport, hint="Remove it: it is written at every promotion.")


def check_report(report: BehaviorReport, version: str) -> None:
    """Raise `BehaviorRefused` for a report that did not pass."""
    if not report.passed:
        raise BehaviorRefused(
            f"{version} does not behave as {report.compared_version} on {report.num_prompts} held-out prompts: "
            + "; ".join(report.reasons),
            hint="The live model stays. Serve it all the same with --force, or widen the tolerance of `serve run`.",
        )
