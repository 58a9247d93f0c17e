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
from spanloop.page.traces.wanted import MAX_NS
from spanloop.page.visit import Visit

CALLS = """
select project, span_id, agent, coalesce(model_returned, model_requested) as model, dialect, policy_version, error,
    merged_span_ids, usage, episode_id, truncated
from llm_calls
where trace_id = ? and project = ? and start_ns >= ? and start_ns <= ?
"""

TRANSITIONS = """
select * exclude (
    observation, next_observation, action, tools, media, prompt_token_ids, response_token_ids, behavior_logprobs
), len(response_token_ids) as num_sampled, len(prompt_token_ids) as num_prompt
from transitions
where trace_id = ? and project = ? and start_ns >= ? and start_ns <= ?
order by step
"""

REWARDS = "select * from rewards where (trace_id = ? or judged_trace_id = ?) and project = ?"
REJECTED = "select project, span_id, stage, reason, detail from rejected where trace_id = ? and project = ?"

TOOLS = """
select project, span_id, name, tool_call_id, error, caused_by_span_id, attribution_rule, agent
from tool_calls
where trace_id = ? and project = ? and start_ns >= ? and start_ns <= ?
"""

CREDIT = """
select c.*
from credit as c
where c.project = ? and c.episode_id in (
    select episode_id
    from episodes
    where list_contains(trace_ids, ?) and project = ? and end_ns >= ? and start_ns <= ?
)
order by checkpoint_id desc
"""

CALL = "select * from llm_calls where trace_id = ? and span_id = ? and project = ?{times}"
TOOL = "select * from tool_calls where trace_id = ? and span_id = ? and project = ?{times}"
CAME = """
select tool_call_id, result, error, null as next_observation
from tool_calls
where trace_id = ? and caused_by_span_id = ? and project = ?{times}
union all
select null, null, null, next_observation
from transitions
where trace_id = ? and span_id = ? and project = ?{times}
"""
"""What came of an answer's tool calls."""

SPAN = "select * from spans where trace_id = ? and span_id = ? and project = ? and start_ns = ?"
EPISODE = """
select * exclude (split_signature)
from episodes
where list_contains(trace_ids, ?) and project = ? and end_ns >= ? and start_ns <= ?
"""

WITHIN = " and start_ns >= ? and start_ns <= ?"
AROUND_NS = 3600 * 10**9
"""How far beyond the spans' times a call of them may have been read: clocks of several layers differ."""

Times = tuple[int, int]
"""When the spans of a trace begin, and the last end: nanoseconds."""

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

    times: Times = (0, 0)
    """Between which instants its calls began."""

    questions: tuple[Question, ...] = ()

    def pushed(self, span_id: str) -> float:
        """Return how a call was pushed by the newest checkpoint that used it; its reward where none did."""
        credit = self.credit.get(span_id)
        found = credit[0]["taken"] if credit else self.transitions.get(span_id, {}).get("reward")
        return float(found or 0.0)


async def read(visit: Visit, trace_id: str, project: str, times: Times) -> Known:
    """Ask everything that is known of a trace's spans in one project: ids of traces are not a tenant's alone."""
    around = (max(0, times[0] - AROUND_NS), min(times[1] + AROUND_NS, MAX_NS))
    here, within = [trace_id, project], [trace_id, project, *around]
    questions = (
        Question(CALLS, within),
        Question(TRANSITIONS, within),
        Question(REWARDS, [trace_id, *here]),
        Question(REJECTED, here),
        Question(TOOLS, within),
        Question(CREDIT, [project, *within]),
    )
    answers = await visit.ask_all(*questions)
    return replace(arranged(answers), questions=questions, times=around)


def arranged(answers: Iterable[Answer]) -> Known:
    """Return what was answered of calls, transitions, rewards, rejections, tools and credit, by span."""
    calls, transitions, rewards, rejected, tools, credit = (answer.rows for answer in answers)
    judged: dict[str, list[Row]] = defaultdict(list)
    for row in rewards:
        judged[row["judged_span_id"] if row["judges"] in {"call", "run"} and row["judged_span_id"] else ""].append(row)
    return Known(
        calls={row["span_id"]: row for row in calls},
        transitions={row["span_id"]: row for row in transitions if row.get("stop_reason") != NOT_TAKEN},
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
    questions = [
        Question(SPAN, [trace_id, node.id, project, node.span.start_ns]),
        Question(EPISODE, [trace_id, project, *known.times]),
    ]
    here = [trace_id, stands_for if is_call else node.id, project, *known.times]
    if is_call:
        questions += [Question(CALL.format(times=WITHIN), here), Question(CAME.format(times=WITHIN), here * 2)]
    elif is_tool:
        questions.append(Question(TOOL.format(times=WITHIN), here))
    span, episode, *more = await visit.ask_all(*questions)
    call = more[0].first if is_call else {}
    came = more[1].rows if is_call else []
    next_ = next((row["next_observation"] for row in came if row["next_observation"]), None)
    transition = known.transitions.get(stands_for, {})
    everything = bool(visit.argument("all"))
    return {
        "node": node,
        "span": span.first,
        "attributes": attributes_of(span.first),
        "stands_for": stands_for,
        "call": call,
        "tool": more[0].first if is_tool and not is_call else {},
        "talk": conversation.of_call(call, conversation.came_of(next_, came), everything=everything) if call else None,
        "transition": transition,
        "parts_list": parts_of(transition),
        "sampling": facts_of(call.get("params")),
        "usage": facts_of(call.get("usage")),
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


def facts_of(text: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - JSON text or nothing
    """Return what an object says: name and value, those that are nothing left out.

    >>> facts_of('{"temperature": 0.5, "seed": null, "stop": ["a"]}')
    [('temperature', 0.5), ('stop', '["a"]')]
    """
    found = _json(text)
    told = found.items() if isinstance(found, dict) else ()
    return [
        (name, value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False))
        for name, value in told
        if value not in (None, "", [], {})
    ]


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
