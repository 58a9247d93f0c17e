"""`/replay`: what another model or prompt would have done. Both sides, the verdict, and where they differ."""

from typing import Any

from aiohttp import web

from spanloop.page import charts, facts
from spanloop.page.facts import Fact, dig
from spanloop.page.render import number, percent, seconds
from spanloop.page.visit import Visit

SHOWN, MOST_STATES = 30, 50
"""Replays on the page, and states of the chosen one."""


async def show(visit: Visit) -> web.StreamResponse:
    """Show the replays, newest first, and the states of the chosen one."""
    replays = await visit.read(facts.replays, visit.data)
    chosen = visit.argument("run") or (replays[0]["run_id"] if replays else "")
    return visit.render(
        "replays.html",
        title="Replays",
        replays=[told(replay) for replay in replays[:SHOWN]],
        num_left_out=max(0, len(replays) - SHOWN),
        chosen=chosen,
        most=MOST_STATES,
    )


def told(replay: Fact) -> dict[str, Any]:
    """Return a replay as its page shows it."""
    asked, comparison = (
        found if isinstance(found := replay.get(name), dict) else {} for name in ("arguments", "comparison")
    )
    gate, states, ends = replay.get("gate"), replay.get("states"), comparison.get("ends")
    return {
        "replay": replay,
        "asked": asked,
        "comparison": comparison,
        "gate": gate if isinstance(gate, dict) else {},
        "interval": _difference(comparison, asked.get("margin")),
        "sides": sides(comparison),
        "ends": list(ends.items()) if isinstance(ends, dict) else [],
        "states": [state for state in states if isinstance(state, dict)] if isinstance(states, list) else [],
    }


def sides(comparison: Fact) -> list[tuple[str, Any, Any]]:
    """Return what was measured of what it is compared with, and of the candidate."""
    teacher, candidate = (
        found if isinstance(found := comparison.get(name), dict) else {} for name in ("teacher", "candidate")
    )
    rows = (
        ("score", lambda side: _score(side.get("score"))),
        ("replayed to the end", lambda side: percent(side.get("share_whole"), 1)),
        ("agreement of tool calls", lambda side: percent(side.get("agreement"), 1)),
        ("an answer took", lambda side: seconds(side.get("duration_s"))),
        ("tokens of prompt, a state", lambda side: number(side.get("prompt_tokens"), 1)),
        ("tokens of answer, a state", lambda side: number(side.get("answer_tokens"), 1)),
        ("cost of a state", lambda side: number(side.get("cost"))),
    )
    return [(name, write(teacher), write(candidate)) for name, write in rows]


def _score(score: Any) -> Any:  # noqa: ANN401 - whatever stands in a report
    mean, low, high = (dig(score, name) for name in ("mean", "low", "high"))
    return (
        f"{number(mean, 3)} in [{number(low, 3)}, {number(high, 3)}]" if isinstance(mean, int | float) else number(None)
    )


def _difference(comparison: Fact, margin: Any) -> Any:  # noqa: ANN401 - whatever stands in a report
    """Draw the interval of the difference between the sides; empty where there is none."""
    low, high, middle = (dig(comparison, "difference", name) for name in ("low", "high", "mean"))
    if not all(isinstance(value, int | float) for value in (low, high, middle, margin)):
        return ""
    title = f"candidate better by between {low:+.3f} and {high:+.3f}"
    return charts.interval(low, high, middle, bounds=(-margin, margin), title=title)
