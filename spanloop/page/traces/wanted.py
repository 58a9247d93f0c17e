"""What a list of traces is narrowed to, and where in it a page begins."""

import json
from dataclasses import dataclass
from typing import Any, Literal

MAX_NS = (1 << 63) - 1

Source = Literal["roots", "errors", "rootless", "calls"]
Cursor = tuple[int, str]
"""Instant and trace after which a list goes on."""

TOP: Cursor = (MAX_NS, "~")


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to; empty means any."""

    service: str = ""
    agent: str = ""
    model: str = ""
    policy: str = ""
    status: str = ""
    """`error`, `ok`, or `rootless`: its root never arrived."""

    evidence: str = ""
    outcome_from: float | None = None
    outcome_to: float | None = None
    text: str = ""
    project: str = ""
    since_ns: int = 0
    until_ns: int = MAX_NS
    before: Cursor = TOP
    limit: int = 50

    @property
    def top(self) -> Cursor:
        """Where the page begins: after the one before, and not later than is wanted."""
        return min(self.before, (self.until_ns, "~"))

    @property
    def has_outcome(self) -> bool:
        """Tell whether it is narrowed by outcome."""
        return self.outcome_from is not None or self.outcome_to is not None

    @property
    def source(self) -> Source:
        """Where candidates come from."""
        if self.agent or self.model or self.policy or self.evidence or self.text or self.has_outcome:
            return "calls"
        if self.status == "rootless":
            return "rootless"
        return "errors" if self.status == "error" else "roots"


def call_conditions(wanted: Wanted) -> tuple[str, str, list[Any]]:
    """Return the table, the conditions on its rows, and the values of these.

    Text is looked for in what the model was shown and said, as it stands in JSON, large and small letters alike.
    """
    of_transitions = bool(wanted.evidence) or wanted.has_outcome
    table = "transitions" if of_transitions else "llm_calls"
    texts = ("observation", "action") if of_transitions else ("input", "output")
    conditions, values = ["start_ns >= ?"], [wanted.since_ns]

    def demand(condition: str, *given: Any) -> None:  # noqa: ANN401 - any parameter
        conditions.append(condition)
        values.extend(given)

    if wanted.project:
        demand("project = ?", wanted.project)
    if wanted.agent:
        demand("agent = ?", wanted.agent)
    if wanted.model:
        demand(
            "behavior_model = ?" if of_transitions else "coalesce(model_returned, model_requested) = ?", wanted.model
        )
    if wanted.policy:
        demand("policy_version = ?", wanted.policy)
    if wanted.evidence:
        demand("evidence = ?", wanted.evidence)
    if wanted.outcome_from is not None:
        demand("outcome >= ?", wanted.outcome_from)
    if wanted.outcome_to is not None:
        demand("outcome <= ?", wanted.outcome_to)
    if wanted.text:
        needle = json.dumps(wanted.text, ensure_ascii=False)[1:-1]
        demand(f"(contains(lower({texts[0]}), lower(?)) or contains(lower({texts[1]}), lower(?)))", needle, needle)
    return table, " and ".join(conditions), values


def write_cursor(at: Cursor) -> str:
    """Write where a page begins, for an address."""
    return f"{at[0]}.{at[1]}"


def read_cursor(text: str) -> Cursor:
    """Return the instant and trace a page begins after; the newest where the text is none.

    >>> read_cursor("12.ab"), read_cursor("x")[1]
    ((12, 'ab'), '~')
    """
    at, _, id_ = text.partition(".")
    is_one = at.isascii() and at.isdigit() and len(at) < 20 and int(at) <= MAX_NS
    return (int(at), id_) if is_one else TOP
