"""One run: plan, have every bucket processed, publish, report. Alone, or as one of several shares."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from etl.published.publish import publish, sweep
from etl.published.stored import committing
from etl.published.window import Window
from etl.runs import division
from etl.runs.buckets import Bucket
from etl.runs.plan import Plan, make_plan
from etl.runs.several import open_receivers
from etl.runs.split_groups import settle_groups
from etl.runs.whole_run import settle_rewards
from etl.runs.work import Job, Processed
from etl.runs.workers import choose_workers, process_all
from etl.schema import TABLES
from etl.settings import EtlConfig
from foundation.errors import ExitStatus, SettingsError, SpanloopError
from foundation.files import exclusive
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.store.opening import require_store
from foundation.web import places
from receiver.schema import Reader

log = get_logger("etl")


def now_us_of_clock() -> int:
    """Return this instant, microseconds since 1970."""
    return time.time_ns() // 1000


def run_etl(
    config: EtlConfig, report: RunReport, *, dry_run: bool, now_us: Callable[[], int] = now_us_of_clock
) -> None:
    """Process what arrived since the last finished run, or in the window the settings name; or a share of it."""
    if config.bucket is not None:
        if dry_run:
            raise SettingsError("--bucket has no dry run", hint="--dry-run goes over all buckets: leave --bucket out.")
        _run_share(config, report, now_us)
        return
    with (
        exclusive(config.data / "dataset" / "lock", purpose="spanloop etl run"),
        _committing(config, "spanloop etl run", dry_run=dry_run) as commit,
    ):
        if not dry_run:
            if division.discard(config.data):
                log.warning("gave up a divided run that nobody had published", data=str(config.data))
            sweep(config.data)
        with closing(open_receivers(config.data)) as reader:
            with report.phase("find") as phase:
                plan = make_plan(config, reader, now_us())
                phase.update(window=plan.window.name, traces=plan.num_traces, buckets=len(plan.buckets))
            job = Job(config, plan.window, plan.now_us, plan.stand_ins, is_dry=dry_run)
            with report.phase("transform") as phase:
                done = _process(job, dict(enumerate(plan.buckets)), reader, phase)
                results = _settle(job, [done[number] for number in sorted(done)], reader)
                results = settle_rewards(config, plan.window, settle_groups(config, plan.window, results))
        _finish(config, plan, results, report, dry_run=dry_run)
        commit()
        if not dry_run:
            report.write(config.data / "dataset" / "runs" / f"{report.run_id}.json", ExitStatus.DONE)


@contextmanager
def _committing(config: EtlConfig, purpose: str, *, dry_run: bool) -> Iterator[Callable[[], object]]:
    """Yield what commits to the store that is named, holding the right to do so meanwhile; nothing where none is."""
    if dry_run or places.store() is None:
        yield lambda: None
        return
    with committing(config.data, require_store(), purpose=purpose) as commit:
        yield commit.publish


def _run_share(config: EtlConfig, report: RunReport, now_us: Callable[[], int]) -> None:
    assert config.bucket is not None
    number, num_shares = division.parse_share(config.bucket)
    with closing(open_receivers(config.data)) as reader:

        def plan() -> Plan:
            sweep(config.data)
            return make_plan(config, reader, now_us())

        with report.phase("find") as phase:
            found = division.join(config, num_shares, plan)
            own = found.share(number)
            todo = {key: bucket for key, bucket in own.items() if not division.done_path(config.data, key).exists()}
            phase.update(window=found.plan.window.name, buckets=len(own), done_before=len(own) - len(todo))
        job = Job(config, found.plan.window, found.plan.now_us, found.plan.stand_ins)
        with report.phase("transform") as phase:
            workers = choose_workers(config, list(todo.values()))
            phase.update(workers=workers)
            counts: dict[str, Any] = {}
            for key, processed in process_all(job, todo, reader, num_workers=workers):
                division.keep(config.data, key, processed)
                counts = add_counts(counts, processed.counts)
    report.update(bucket=config.bucket, buckets_done=sorted(own), published=False, **counts)
    log.info("share done", share=config.bucket, window=found.plan.window.name, buckets=len(own))


def publish_shares(config: EtlConfig, report: RunReport) -> None:
    """Publish what all shares of a divided run have done; refuse while one is missing."""
    with (
        exclusive(config.data / "dataset" / "lock", purpose="spanloop etl publish"),
        _committing(config, "spanloop etl publish", dry_run=False) as commit,
    ):
        with report.phase("find") as phase:
            found = division.load(config.data)
            if found is None:
                raise SpanloopError(
                    f"{division.directory(config.data)} holds no divided run",
                    hint="`spanloop etl run --bucket i/n` begins one; without --bucket a run publishes by itself.",
                )
            config = config.model_copy(update=EtlConfig.model_validate(found.settings).model_dump(exclude={"data"}))
            done = division.results(config.data, found)
            phase.update(window=found.plan.window.name, traces=found.plan.num_traces, buckets=len(done))
        with report.phase("transform"), closing(open_receivers(config.data)) as reader:
            settled = _settle(Job(config, found.plan.window, found.plan.now_us, found.plan.stand_ins), done, reader)
            results = settle_groups(config, found.plan.window, settled)
            results = settle_rewards(config, found.plan.window, results)
            _keep_settled(config.data, done, dict(zip(map(id, settled), results, strict=True)))
        _finish(config, found.plan, results, report, dry_run=False)
        commit()
        division.discard(config.data)
        report.write(config.data / "dataset" / "runs" / f"{report.run_id}.json", ExitStatus.DONE)


def _process(job: Job, buckets: Mapping[int, Bucket], reader: Reader, phase: dict[str, Any]) -> dict[int, Processed]:
    workers = choose_workers(job.config, list(buckets.values()))
    phase.update(workers=workers)
    return dict(process_all(job, buckets, reader, num_workers=workers))


def _settle(job: Job, results: Sequence[Processed], reader: Reader) -> list[Processed]:
    """Return results no two of which have a trace in common: where two do, their traces are processed together.

    Buckets are made so that this is rare: it takes an episode or a call that only reading the spans shows.
    """
    settled = list(results)
    while True:
        groups = overlapping(settled)
        if all(len(group) == 1 for group in groups):
            return settled
        again: dict[int, Bucket] = {}
        kept: list[Processed] = []
        for group in groups:
            if len(group) == 1:
                kept.append(settled[group[0]])
            else:
                again[len(again)] = Bucket(set().union(*(settled[number].traces for number in group)))
        log.warning("buckets share an episode or a call: processed together", buckets=len(settled) - len(kept))
        done = dict(process_all(job, again, reader, num_workers=1))
        settled = [*kept, *(done[number] for number in sorted(done))]


def _keep_settled(data: Path, done: Sequence[Processed], settled: Mapping[int, Processed]) -> None:
    """Keep what came of the buckets as it is published: a second attempt at it finds no other files any more."""
    for number, before in enumerate(done):
        after = settled.get(id(before), before)
        if after is not before:
            division.keep(data, number, after)


def overlapping(results: Sequence[Processed]) -> list[list[int]]:
    """Return groups of results that have traces in common, directly or through others, in order."""
    parent = list(range(len(results)))

    def find(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    owner: dict[tuple[str, str], int] = {}
    for number, result in enumerate(results):
        for trace in result.traces:
            other = find(owner.setdefault(trace, number))
            if other != find(number):
                low, high = sorted((other, find(number)))
                parent[high] = low
    groups: dict[int, list[int]] = {}
    for number in range(len(results)):
        groups.setdefault(find(number), []).append(number)
    return list(groups.values())


def _finish(config: EtlConfig, plan: Plan, results: Iterable[Processed], report: RunReport, *, dry_run: bool) -> None:
    """Report what came of all buckets, and publish it."""
    counts: dict[str, Any] = {}
    num_rows: dict[str, Any] = dict.fromkeys(TABLES, 0)
    traces, waiting, parts = set(), set(), []
    for result in results:
        counts, num_rows = add_counts(counts, result.counts), add_counts(num_rows, result.num_rows)
        traces |= result.traces
        waiting |= set(result.pending)
        parts.append(result.parts)
    window, processed = plan.window, plan.processed
    report.update(window={"since_seq": window.since_seq, "until_seq": window.until_seq}, **counts)
    report.update(num_rows=num_rows)
    _narrate(counts, window, is_new=plan.is_new)
    received_seq = max(processed, window.until_seq) if plan.is_contiguous else processed
    if plan.reached:
        received_seq = sum(plan.reached.values())
    if dry_run or (not plan.is_new and not any(num_rows.values())):
        report.update(published=False, watermark=processed)
        return
    with report.phase("publish"):
        if not plan.is_contiguous:
            waiting |= plan.pending - traces
        publish(config.data, window, traces, parts, waiting, received_seq, receivers=plan.reached)
    report.update(published=True, watermark=received_seq)


def add_counts(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Add up two reports' counts, key by key.

    >>> add_counts({"in": 1, "used": {"a": 1}}, {"in": 2, "used": {"b": 3}})
    {'in': 3, 'used': {'a': 1, 'b': 3}}
    """
    total = dict(one)
    for key, value in other.items():
        total[key] = add_counts(total.get(key, {}), value) if isinstance(value, dict) else total.get(key, 0) + value
    return total


def _narrate(counts: dict[str, Any], window: Window, *, is_new: bool) -> None:
    spans = counts["spans"]
    log.info(
        "transformed" if is_new or spans["in"] else "nothing new",
        window=window.name,
        spans=spans["in"],
        episodes=counts["episodes"],
        waiting=counts["episodes_waiting"],
        calls=counts["calls"]["in"],
        transitions=counts["calls"]["transitions"],
    )
    for scope, number in counts["unread_scopes"].items():
        log.warning("spans that look like model traffic, in no known dialect", scope=scope, spans=number)
    for scope, number in counts["unreadable_scopes"].items():
        log.warning("spans that could not be read: please report what writes them", scope=scope, spans=number)
