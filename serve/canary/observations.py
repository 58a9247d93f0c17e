"""Reads from the receiver what the units of a canary were worth: the gateway's own spans, and rewards on their traces.

Everything is read from the store, so that a restart of the gateway forgets nothing. A unit's calls count when it has
been quiet for a while, as their mean; its first reward counts when it comes.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from foundation.errors import SettingsError
from otel_exporter import schema as names
from receiver.schema import connect
from serve.api.form import CALL_MARKS
from serve.canary.verdict import Metric, Observation
from serve.gateway.assignment import Arm
from serve.schema import Canary

QUIET_S = 30.0
"""How long after its last call a unit's calls are complete. Calls that come later are not looked at."""

SLOW_QUANTILE = 0.95
MIN_CALLS = 50
"""Calls that must be on record to say what is slow."""

CALLS = """
    select
        received_seq,
        trace_id,
        start_ns,
        end_ns,
        json_extract_string(attributes, ?) as arm,
        json_extract_string(attributes, ?) as unit,
        json_extract_string(attributes, '$."error.type"') as error,
        json_extract_string(attributes, '$."gen_ai.tool.definitions"') is not null
            and regexp_matches(coalesce(json_extract_string(attributes, '$."gen_ai.output.messages"'), ''), ?)
            as is_unparsed
    from spans
    where scope_name = ? and received_seq > ? and start_ns >= ?
        and (cast(? as varchar) is null or json_extract_string(attributes, ?) = ?)
    order by received_seq
"""

GIVEN = """
    select received_seq, trace_id, attributes as given
    from log_records
    where event_name = ? and received_seq > ? and time_ns >= ? and trace_id is not null
    order by received_seq, record_index
"""

EVENTS = """
    select received_seq, trace_id, events as given
    from spans
    where received_seq > ? and end_ns >= ? and contains(events, ?)
    order by received_seq
"""

DURATIONS = """
    select count(*) as num, quantile_cont((end_ns - start_ns) / 1e9, ?) as slow_s
    from (
        select start_ns, end_ns from spans
        where scope_name = ? and status_code <> 'error'
        order by start_ns desc
        limit 2000
    )
"""


@dataclass
class _Unit:
    """The calls of one unit until it is quiet."""

    arm: Arm
    last_ns: int = 0
    num_calls: int = 0
    num_bad: dict[Metric, int] = field(default_factory=lambda: {"errors": 0, "unparsed": 0, "slow": 0})
    is_counted: bool = False
    is_rewarded: bool = False


class Observer:
    """Follows the store from the moment a canary got its share."""

    def __init__(
        self,
        data: Path,
        canary: Canary,
        *,
        prompt: str | None = None,
        arms: tuple[str, str] = (names.CANARY_ARM, names.CANARY_UNIT),
    ) -> None:
        self._data = data
        self._prompt = prompt
        """The agent whose prompt is tried; null where something else is."""

        self._arms = (names.PROMPT_ARM, names.PROMPT_UNIT) if prompt is not None else arms
        """Attributes that name arm and unit."""

        self._canary = canary
        self._since_ns = _nanoseconds(canary.share_time)
        self._units: dict[str, _Unit] = {}
        self._traces: dict[str, set[str]] = {}
        """Units by trace."""

        self._waiting: list[tuple[str, float]] = []
        """Rewards whose trace has no call of ours yet: they may overtake it."""

        self._last_seq = {"calls": -1, "given": -1, "events": -1}

    def read(self, *, now_ns: int | None = None) -> Iterator[Observation]:
        """Yield what became known since the last time."""
        with _reader(self._data) as reader:
            arms = self._arms
            mark = [*(f'$."{name}"' for name in arms), CALL_MARKS.pattern, names.GATEWAY_SCOPE]
            whose = [self._prompt, f'$."{names.PROMPT_NAME}"', self._prompt]
            calls = reader.query(CALLS, [*mark, self._last_seq["calls"], self._since_ns, *whose]).to_pylist()
            given: list[dict[str, Any]] = []
            if self._canary.reward is not None:
                given += reader.query(
                    GIVEN, [names.EVALUATION_EVENT, self._last_seq["given"], self._since_ns]
                ).to_pylist()
                events = reader.query(
                    EVENTS, [self._last_seq["events"], self._since_ns, names.EVALUATION_EVENT]
                ).to_pylist()
                self._follow("given", given)
                self._follow("events", events)
                given += events
        self._follow("calls", calls)
        for call in calls:
            self._take(call)
        self._waiting += [(row["trace_id"], value) for row in given for value in _rewards(row["given"], self._canary)]
        yield from self._count_rewards()
        yield from self._count_quiet(time.time_ns() if now_ns is None else now_ns)

    def _follow(self, what: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._last_seq[what] = rows[-1]["received_seq"]

    def _take(self, call: dict[str, Any]) -> None:
        if call["arm"] is None or call["unit"] is None:
            return
        unit = self._units.setdefault(call["unit"], _Unit(call["arm"]))
        self._traces.setdefault(call["trace_id"], set()).add(call["unit"])
        # A client that left or asked for what cannot be is no fault of a model.
        error = call["error"]
        is_error = error is not None and error != "cancelled" and not (error.isdigit() and int(error) < 500)
        if unit.is_counted:
            return
        unit.last_ns = max(unit.last_ns, call["end_ns"])
        unit.num_calls += 1
        unit.num_bad["errors"] += is_error
        unit.num_bad["unparsed"] += bool(call["is_unparsed"])
        slow_s = self._canary.slow_s
        unit.num_bad["slow"] += slow_s is not None and call["end_ns"] - call["start_ns"] > slow_s * 1e9

    def _count_rewards(self) -> Iterator[Observation]:
        still_waiting = []
        for trace_id, value in self._waiting:
            units = self._traces.get(trace_id)
            if units is None:
                still_waiting.append((trace_id, value))
                continue
            for name in units:
                unit = self._units[name]
                if not unit.is_rewarded:
                    unit.is_rewarded = True
                    yield Observation(unit.arm, "reward", value)
        self._waiting = still_waiting

    def _count_quiet(self, now_ns: int) -> Iterator[Observation]:
        for unit in self._units.values():
            if not unit.is_counted and now_ns - unit.last_ns > QUIET_S * 1e9:
                unit.is_counted = True
                for metric, num in unit.num_bad.items():
                    if metric != "slow" or self._canary.slow_s is not None:
                        yield Observation(unit.arm, metric, num / unit.num_calls)


def find_slow(data: Path) -> float | None:
    """Return how long all but a few of the latest calls took; None where too few are on record."""
    with _reader(data) as reader:
        (row,) = reader.query(DURATIONS, [SLOW_QUANTILE, names.GATEWAY_SCOPE]).to_pylist()
    return float(row["slow_s"]) if row["num"] >= MIN_CALLS else None


def _rewards(given: str, canary: Canary) -> Iterator[float]:
    """Yield the values of the canary's reward in a log record's attributes or a span's events, from 0 to 1."""
    content = json.loads(given)
    for fields in [content] if isinstance(content, dict) else [each.get("attributes") or {} for each in content]:
        value = fields.get(names.EVALUATION_SCORE)
        if fields.get(names.EVALUATION_NAME) == canary.reward and isinstance(value, int | float):
            yield min(1.0, max(0.0, (value - canary.reward_low) / (canary.reward_high - canary.reward_low)))


def _nanoseconds(instant: str) -> int:
    return int(datetime.fromisoformat(instant).timestamp() * 1e9)


@contextlib.contextmanager
def _reader(data: Path) -> Iterator[Any]:
    try:
        reader = connect(data)
    except ImportError as error:
        raise SettingsError(
            f"a canary is judged by what the receiver has stored, and reading it needs {error.name}",
            hint="pip install 'spanloop[receiver]'",
        ) from error
    with contextlib.closing(reader):
        yield reader
