"""Receiver and gateway under load, with a fault every 20 seconds: what was injected, what was seen, what was lost.

    make soak      or      python -m benchmarks.soak --minutes 3 --every 20 --seed 1

Agents call the gateway with keys, other spans go to the receiver, and both remember what was acknowledged. Faults are
drawn from `benchmarks.soak.faults` without putting back, so that all are seen before one comes twice. At the end the
store is read: every acknowledged span once, every answer's span with the version that the answer named, recorded
log-probabilities as those weights give them, no row of one project for another's key, memory that is flat: the median
of what was resident in the last quarter of the time is at most a quarter above that in the second (judged from an
hour on: rows wait uncompressed for minutes, and in a shorter quarter one such wave is all there is). Two hours are the
long form. Ends with status 1 when any of it is not so. `--only NAME` injects these faults and no others.
"""

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from benchmarks.serving.promotions import TOLERANCE, worst_difference
from benchmarks.soak.faults import FAULTS
from benchmarks.soak.world import World
from foundation.errors import SpanloopError
from otel_exporter import schema as names
from otel_exporter.schema import GATEWAY_SCOPE
from receiver.schema import connect
from train.schema import model_version

KILL_WINDOW_S = 2.0
"""Calls answered so shortly before the gateway is killed may lack their span: docs/serving.md names what is lost."""


def inject(world: World, minutes: float, every_s: float, seed: int, only: list[str]) -> list[dict[str, Any]]:
    """Inject a fault every so many seconds, wait until service is back, and note how long that took."""
    choice = random.Random(seed)
    seen: list[dict[str, Any]] = []
    end = time.monotonic() + 60 * minutes
    names = only or list(FAULTS)
    rounds = itertools.chain.from_iterable(choice.sample(names, len(names)) for _ in itertools.count())
    for name in rounds:
        if time.monotonic() + every_s > end:
            return seen
        began = time.monotonic()
        before = Counter(world.outcomes)
        try:
            said = FAULTS[name](world)
            recovered_s = world.wait_until_served()
        except (AssertionError, OSError, subprocess.SubprocessError, SpanloopError) as error:
            said, recovered_s = f"FAILED: {type(error).__name__}: {error}", float("nan")
            if started := world.start_what_ended():
                said += f" (started again: {started})"
        outcomes = {str(key): count for key, count in (Counter(world.outcomes) - before).items() if key != 200}
        seen.append({"fault": name, "said": said, "recovered_s": round(recovered_s, 1), "other_than_200": outcomes})
        print(json.dumps(seen[-1]), file=sys.stderr, flush=True)
        time.sleep(max(0.0, every_s - (time.monotonic() - began)))
    raise AssertionError("rounds never end")


def check(world: World) -> dict[str, Any]:
    """Read the store and hold it against what clients were told."""
    rows = connect(world.data).query(
        """
        select
            json_extract_string(attributes, '$."gen_ai.response.id"') as response_id,
            json_extract_string(attributes, ?) as version,
            attributes,
            project
        from spans
        where scope_name = ?
        """,
        [f'$."{names.POLICY_VERSION}"', GATEWAY_SCOPE],
    )
    spans: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        if row["response_id"] is not None:
            spans.setdefault(row["response_id"], []).append(row)
    missing = [answer for answer in world.answers if answer.response_id not in spans]
    excused = [
        answer for answer in missing if any(0 <= kill - answer.time_s <= KILL_WINDOW_S for kill in world.gateway_kills)
    ]
    judged = [
        (answer, json.loads(spans[answer.response_id][0]["attributes"]))
        for answer in world.answers[::7]
        if answer.response_id in spans
    ]
    by_version: dict[str, list[dict[str, Any]]] = {}
    for answer, attributes in judged:
        by_version.setdefault(answer.version, []).append(attributes)
    models = {model_version(path): path for path in world.models}
    worst = [each for version, group in by_version.items() for each in worst_difference(models[version], group)]
    sent = (
        connect(world.data)
        .query("select count(*) as rows, count(distinct span_id) as spans from spans where scope_name = 'tests'")
        .to_pylist()[0]
    )
    counted = world.status() or {}
    return {
        "answers": len(world.answers),
        "answers_without_span": len(missing) - len(excused),
        "answers_without_span_shortly_before_a_kill": len(excused),
        "answers_with_two_spans": sum(len(found) > 1 for found in spans.values()),
        "answers_whose_span_names_another_version": sum(
            spans[answer.response_id][0]["version"] != answer.version
            for answer in world.answers
            if answer.response_id in spans
        ),
        "answers_scored_again": len(worst),
        "answers_not_sampled_by_their_version": sum(not each < TOLERANCE for each in worst),
        "acknowledged_spans": len(world.acknowledged),
        "acknowledged_spans_lost": len(world.acknowledged) - world.count_stored(),
        "spans_doubled": sent["rows"] - sent["spans"],
        "rows_of_another_project": world.count_foreign_rows(),
        "counted_as_lost": {name: counted.get(name) for name in counted if name in LOST},
        "rss_mb_by_quarter": {name: by_quarter(values) for name, values in world.rss_mb.items()},
        "tracebacks": world.count_tracebacks(),
    }


def by_quarter(values: list[int]) -> list[float]:
    """Return the medians of the four quarters of what was measured; fewer than four values are told as they are."""
    if len(values) < 4:
        return [float(value) for value in values]
    ends = [len(values) * part // 4 for part in range(5)]
    return [statistics.median(values[start:end]) for start, end in itertools.pairwise(ends)]


def is_flat(medians: list[float], minutes: float) -> bool:
    """Tell whether memory did not grow; so short a run that a quarter of it is no whole wave is not judged."""
    return minutes < JUDGED_FROM_MINUTES or (len(medians) == 4 and medians[3] <= MOST_GROWTH * medians[1])


JUDGED_FROM_MINUTES = 60
MOST_GROWTH = 1.25

LOST = ("num_spans_dropped", "num_spans_failed", "num_spans_unencodable", "num_spans_damaged")
ZERO = (
    "answers_without_span",
    "answers_with_two_spans",
    "answers_whose_span_names_another_version",
    "answers_not_sampled_by_their_version",
    "acknowledged_spans_lost",
    "spans_doubled",
    "rows_of_another_project",
    "tracebacks",
)


def main() -> None:
    """Soak, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=[])
    parser.add_argument("--keep", type=Path, help="an empty directory that data and logs are left in")
    arguments = parser.parse_args()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as directory:
        world = World(arguments.keep or Path(directory), arguments.seed)
        with world.running(arguments.agents):
            seen = inject(world, arguments.minutes, arguments.every, arguments.seed, arguments.only)
            world.end_load()
            world.wait_until_delivered()
            found = check(world)
    grown = [name for name, medians in found["rss_mb_by_quarter"].items() if not is_flat(medians, arguments.minutes)]
    failed = [each["fault"] for each in seen if each["said"].startswith("FAILED")]
    report = {
        "minutes": arguments.minutes,
        "kinds": len(FAULTS),
        "injected": dict(Counter(each["fault"] for each in seen)),
        "not_recovered": failed,
        "memory_not_flat": grown,
        "outcomes": {str(key): count for key, count in world.outcomes.items()},
        **found,
        "faults": seen,
    }
    print(json.dumps(report, indent=2))
    sys.exit(bool(failed or grown) or any(report[name] for name in ZERO))


if __name__ == "__main__":
    main()
