"""`/runs`: what did last night do. Step by step, with counts that reconcile, and why a checkpoint was refused."""

from typing import Any

from aiohttp import web

from spanloop.page import charts, facts
from spanloop.page.facts import Fact, dig
from spanloop.page.visit import Visit

SHOWN = 30


async def show(visit: Visit) -> web.StreamResponse:
    """Show the nights, newest first."""
    nights = await visit.read(facts.nights, visit.data)
    under_way = await visit.read(facts.night_under_way, visit.data)
    chosen = visit.argument("run")
    return visit.render(
        "runs.html",
        title="Nights",
        nights=[told(night) for night in nights[:SHOWN]],
        num_left_out=max(0, len(nights) - SHOWN),
        under_way=under_way,
        chosen=chosen or (nights[0]["run_id"] if nights else ""),
    )


def told(night: Fact) -> dict[str, Any]:
    """Return a night as its page shows it: phases, a table of counts from spans to tokens, what was set aside."""
    phases = night.get("phases")
    timed = [
        (str(phase.get("name")), float(phase.get("duration_s") or 0))
        for phase in (phases if isinstance(phases, list) else [])
        if isinstance(phase, dict)
    ]
    gate = dig(night, "evaluate", "gate")
    checkpoint = night.get("checkpoint")
    return {
        "night": night,
        "gate": gate if isinstance(gate, dict) else {},
        "interval": interval_of(gate),
        "checkpoint": str(checkpoint).rstrip("/").rpartition("/")[2] if checkpoint else "",
        "chart": charts.bars(timed, title="Seconds a step", width=420, height=90),
        "phases": timed,
        "counts": reconciled(night),
        "routes": [row for row in dig(night, "train", "routes") or [] if isinstance(row, dict)],
        "said": dig(night, "error", "message"),
        "hint": dig(night, "error", "hint"),
    }


def reconciled(night: Fact) -> list[tuple[str, int | None, list[tuple[str, Any]], bool | None]]:
    """Return from spans to tokens: what came in, what became of it, and whether these add up.

    >>> reconciled({"etl": {"spans": {"in": 3, "used": {"a": 1}, "ignored": {"b": 2}, "rejected": {}}}})[0]
    ('spans', 3, [('used: a', 1), ('ignored: b', 2)], True)
    """
    rows: list[tuple[str, int | None, list[tuple[str, Any]], bool | None]] = []
    spans = dig(night, "etl", "spans")
    if isinstance(spans, dict):
        parts = [
            (f"{kind}: {name}", count)
            for kind in ("used", "ignored", "rejected")
            for name, count in _items(spans, kind)
        ]
        parts += [("waiting", spans["waiting"])] if spans.get("waiting") else []
        rows.append(("spans", spans.get("in"), parts, _adds_up(spans.get("in"), parts)))
    calls = dig(night, "etl", "calls")
    if isinstance(calls, dict):
        parts = [
            ("transitions", calls.get("transitions")),
            *((f"rejected: {n}", c) for n, c in _items(calls, "rejected")),
        ]
        rows.append(("model calls", calls.get("in"), parts, _adds_up(calls.get("in"), parts)))
    train = night.get("train")
    if isinstance(train, dict) and "num_calls" in train:
        parts = [
            ("trained", train.get("num_trained_calls")),
            *((f"set aside: {n}", c) for n, c in _items(train, "set_aside")),
        ]
        rows.append(
            ("transitions for training", train.get("num_calls"), parts, _adds_up(train.get("num_calls"), parts))
        )
        more = [("updates", train.get("num_updates")), ("tokens trained", train.get("num_trained_tokens"))]
        rows.append(("training", None, [(name, count) for name, count in more if count is not None], None))
    return rows


def _items(fact: Fact, name: str) -> list[tuple[str, Any]]:
    found = fact.get(name)
    return sorted(found.items(), key=lambda item: str(item[0])) if isinstance(found, dict) else []


def _adds_up(whole: Any, parts: list[tuple[str, Any]]) -> bool | None:  # noqa: ANN401 - whatever stands in a report
    counts = [count for _, count in parts]
    if not all(isinstance(count, int) for count in (whole, *counts)):
        return None
    return bool(sum(counts) == whole)


def interval_of(gate: Any) -> Any:  # noqa: ANN401 - whatever stands in a report
    """Draw the interval of a gate's gain; empty where it has none."""
    low, high, middle = (dig(gate, "estimate", name) for name in ("gain_low", "gain_high", "gain"))
    if not all(isinstance(value, int | float) for value in (low, high)):
        return ""
    return charts.interval(low, high, middle, bounds=(-0.1, 0.1), title=f"gain between {low:+.3f} and {high:+.3f}")
