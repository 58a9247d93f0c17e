"""What is known of the spans of a trace: calls, transitions, rewards, credit, rejections; and one span in full."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from etl.schema import NOT_TAKEN
from spanloop.page.questions import Answer, Question, Row
from spanloop.page.traces import conversation
from spanloop.page.traces.trees import Node
from spanloop.page.visit import Visit

CALLS = """
select project, span_id, agent, coalesce(model_returned, model_requested) as model, dialect, policy_version, error,
    merged_span_ids, usage, episode_id, truncated
from llm_calls
where trace_id = ?
"""

TRANSITIONS = """
select * exclude (
    observation, next_observation, action, tools, media, prompt_token_ids, response_token_ids, behavior_logprobs
), len(response_token_ids) as num_sampled, len(prompt_token_ids) as num_prompt
from transitions
where trace_id = ?
order by step
"""

REWARDS = "select * from rewards where trace_id = ? or judged_trace_id = ?"
REJECTED = "select project, span_id, stage, reason, detail from rejected where trace_id = ?"

TOOLS = """
select project, span_id, name, tool_call_id, error, caused_by_span_id, attribution_rule, agent
from tool_calls
where trace_id = ?
"""

CREDIT = """
select c.*
from credit as c
where c.episode_id in (select episode_id from episodes where list_contains(trace_ids, ?))
order by checkpoint_id desc
"""

CALL = "select * from llm_calls where trace_id = ? and span_id = ? and project = ?"
TOOL = "select * from tool_calls where trace_id = ? and span_id = ? and project = ?"
SPAN = "select * from spans where trace_id = ? and span_id = ? and project = ?"
EPISODE = "select * exclude (split_signature) from episodes where list_contains(trace_ids, ?) and project = ?"

PARTS = "reward_"


@dataclass(frozen=True)
class Known:
    """What was said of the spans of one trace, by span."""

    calls: dict[str, Row] = field(default_factory=dict)
    transitions: dict[str, Row] = field(default_factory=dict)
    rewards: dict[str, list[Row]] = field(default_factory=dict)
    """Scores by what they judge; those of the whole trace or more under the empty id."""

    rejected: dict[str, list[Row]] = field(default_factory=dict)
    tools: dict[str, Row] = field(default_factory=dict)
    credit: dict[str, list[Row]] = field(default_factory=dict)
    """The newest checkpoint's first."""

    merged: dict[str, str] = field(default_factory=dict)
    """Spans that are another rendition of a call, and the span that stands for it."""

    has_run: bool = False
    """The ETL has read the trace."""

    questions: tuple[Question, ...] = ()
    answers: tuple[Answer, ...] = ()

    def of(self, project: str) -> "Known":
        """Return what is known in one project: ids of traces are not a tenant's alone."""
        return replace(_arranged(self.answers, project), questions=self.questions, answers=self.answers)

    def pushed(self, span_id: str) -> float:
        """Return how a call was pushed by the newest checkpoint that used it; its reward where none did."""
        credit = self.credit.get(span_id)
        found = credit[0]["taken"] if credit else self.transitions.get(span_id, {}).get("reward")
        return float(found or 0.0)


async def read(visit: Visit, trace_id: str) -> Known:
    """Ask everything that is known of a trace's spans."""
    questions = (
        Question(CALLS, [trace_id]),
        Question(TRANSITIONS, [trace_id]),
        Question(REWARDS, [trace_id, trace_id]),
        Question(REJECTED, [trace_id]),
        Question(TOOLS, [trace_id]),
        Question(CREDIT, [trace_id]),
    )
    answers = await visit.ask_all(*questions)
    return Known(questions=questions, answers=tuple(answers))


def _arranged(answers: Iterable[Answer], project: str) -> Known:
    calls, transitions, rewards, rejected, tools, credit = (
        [row for row in answer.rows if row.get("project") == project] for answer in answers
    )
    judged: dict[str, list[Row]] = defaultdict(list)
    for row in rewards:
        judged[row["judged_span_id"] if row["judges"] in {"call", "run"} and row["judged_span_id"] else ""].append(row)
    return Known(
        calls={row["span_id"]: row for row in calls},
        transitions={row["span_id"]: row for row in transitions if row["stop_reason"] != NOT_TAKEN},
        rewards=dict(judged),
        rejected=_grouped(rejected),
        tools={row["span_id"]: row for row in tools},
        credit=_grouped(credit),
        merged={other: row["span_id"] for row in calls for other in row["merged_span_ids"] or []},
        has_run=bool(calls or transitions or rejected or tools),
    )


def _grouped(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["span_id"] or ""].append(row)
    return dict(found)


async def detail(visit: Visit, trace_id: str, project: str, node: Node | None, known: Known) -> dict[str, Any]:
    """Return what the detail of a span shows, as values of its template."""
    if node is None:
        return {"node": None}
    stands_for = known.merged.get(node.id, node.id)
    is_call, is_tool = stands_for in known.calls, node.id in known.tools
    questions = [Question(SPAN, [trace_id, node.id, project]), Question(EPISODE, [trace_id, project])]
    if is_call:
        questions.append(Question(CALL, [trace_id, stands_for, project]))
    elif is_tool:
        questions.append(Question(TOOL, [trace_id, node.id, project]))
    span, episode, *more = await visit.ask_all(*questions)
    call = more[0].first if is_call else {}
    transition = known.transitions.get(stands_for, {})
    everything = bool(visit.argument("all"))
    return {
        "node": node,
        "span": span.first,
        "attributes": attributes_of(span.first),
        "stands_for": stands_for,
        "call": call,
        "tool": more[0].first if is_tool and not is_call else {},
        "talk": conversation.of_call(call, everything=everything) if call else None,
        "transition": transition,
        "parts_list": parts_of(transition),
        "signals": _json(transition.get("signals")) or {},
        "given": known.rewards.get(stands_for, []) + known.rewards.get("", []),
        "given_here": known.rewards.get(node.id, []),
        "rejected": known.rejected.get(stands_for, []),
        "credit": known.credit.get(stands_for, []),
        "why": why_pushed(known.credit.get(stands_for, []), transition),
        "episode": episode.first,
        "others": [id_ for id_ in (call.get("merged_span_ids") or []) if id_ != node.id],
        "detail_questions": questions,
    }


def attributes_of(span: Row) -> list[tuple[str, str]]:
    """Return the attributes of a span, then events, links, resource: name, and value as text."""
    found: list[tuple[str, str]] = []
    attributes = _json(span.get("attributes"))
    for name, value in sorted(attributes.items()) if isinstance(attributes, dict) else ():
        found.append((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)))
    beside = ("events", "links", "resource", "status_message", "scope_name", "scope_version")
    told = [(name, str(span[name])) for name in beside if span.get(name) not in (None, "", "[]", "{}")]
    return found + [(f"({name.replace('_', ' ')})", value) for name, value in told]


def parts_of(transition: Row) -> list[tuple[str, float, str]]:
    """Return the parts of a step's reward that were measured: name, value as it counts, where it came from."""
    scale = transition.get("air_scale")
    found = []
    for name, value in transition.items():
        if not name.startswith(PARTS) or value is None:
            continue
        short = name.removeprefix(PARTS)
        if short in {"outcome", "step"}:
            found.append(
                (short, value, "given: how the episode ended" if short == "outcome" else "given to this very call")
            )
        else:
            why = "signal in the trace"
            if isinstance(scale, int | float) and scale != 1:
                value, why = value * scale, f"signal in the trace, held in its bound by the factor {scale:.3g}"
            found.append((short, value, why))
    return found


def why_pushed(credit: list[Row], transition: Row) -> tuple[str, str] | None:
    """Say in a sentence why the newest checkpoint pushed a call up or down, and which of the two it was."""
    if not credit:
        return None
    row = credit[0]
    taken, weight = row.get("taken") or 0.0, row.get("weight") or 0.0
    route = f"loss {row.get('loss')}" if row.get("loss") else "no loss"
    if not weight:
        return "zero", f"Left out by {row['checkpoint_id']} ({route}): it was neither pushed up nor down."
    came, expected = row.get("return_"), row.get("value")
    compared = (
        f"what came of it ({_number(came)}) was {'more' if (came or 0) > (expected or 0) else 'less'} than could be "
        f"expected before the call ({_number(expected)})"
        if expected is not None
        else f"what came of it ({_number(came)}) was compared with other attempts at its task"
    )
    outcome = f"; the episode ended with outcome {_number(row['outcome'])}" if row.get("outcome") is not None else ""
    step = transition.get("reward")
    own = f", and its own step earned {_number(step)}" if step else ""
    way = "Pushed up" if taken > 0 else "Pushed down" if taken < 0 else "Left where it was"
    text = f"{way} by {row['checkpoint_id']} ({route}, advantage {taken:+.3f}): {compared}{outcome}{own}."
    return ("plus" if taken > 0 else "minus" if taken < 0 else "zero"), text


def _number(value: Any) -> str:  # noqa: ANN401 - a number or nothing
    return "unknown" if value is None else f"{value:.3g}"


def _json(text: Any) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return None
