"""How quickly the page answers over many spans, while spans arrive, and what its process holds.

    python -m benchmarks.page.figures --spans 10000000 --rate 2000

Makes a sealed day of traces of ten spans and one trace of 20,000, the ETL's tables over them as far as the page reads
them (made, not computed), starts receiver and page, sends spans at a rate, and asks for the list by every filter and
for the large trace again and again. A page is timed from the request to the last byte of its HTML.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from benchmarks.ingest.load import SPANS_A_REQUEST, make_bodies, numbered
from benchmarks.ingest.servers import Server, receiver
from foundation.web.http import answers
from receiver.days.files import attach
from receiver.schema import show_files, spans_directory
from receiver.traces import OF_SPANS
from spanloop.processes import free_port, spanloop_command

DAY_NS = 86_400 * 10**9
LARGE = "7c" * 16
"""Among the ids of the others, so that no file's least and largest id tell where it is."""
LARGE_SPANS = 20_000

SPANS = """
insert into {day}.spans by name
select
    'default' as project,
    md5((i // 10)::varchar) as trace_id,
    left(md5(i::varchar || 's'), 16) as span_id,
    case when i % 10 = 0 then null else left(md5((i - i % 10)::varchar || 's'), 16) end as parent_span_id,
    case when i % 10 = 0 then 'attempt' else 'step ' || i % 10 end as name,
    'internal' as kind,
    start_ns, start_ns + 40000000 * (11 - i % 10) as end_ns,
    make_timestamptz(start_ns // 1000) as start_time, make_timestamptz(end_ns // 1000) as end_time,
    case when hash(i) % 400 = 0 then 'error' else 'ok' end as status_code,
    'service-' || (i // 10) % 7 as service_name,
    '{{"service.name":"service-' || (i // 10) % 7 || '"}}' as resource,
    'bench' as scope_name,
    '{{"step":' || i % 10 || ',"text":"' || md5(i::varchar) || md5((i + 1)::varchar) || '"}}' as attributes,
    '[]' as events, '[]' as links, 0 as flags,
    0 as dropped_attributes_count, 0 as dropped_events_count, 0 as dropped_links_count,
    make_timestamptz(start_ns // 1000) as received_time, 1 + i // 1000 as received_seq
from (select i, ? + ((i // 10) * (86000000000000 // ?)) + (i % 10) * 1000000 as start_ns from range(?) t(i))
"""

LARGE_TRACE = """
insert into {day}.spans by name
select
    'default' as project, ? as trace_id, lpad(to_hex(i + 1), 16, '0') as span_id,
    case when i = 0 then null else lpad(to_hex((i - 1) // 5 + 1), 16, '0') end as parent_span_id,
    'span ' || i as name, 'internal' as kind, ? + i * 1000 as start_ns, ? + i * 1000 + 5000000 as end_ns,
    make_timestamptz(start_ns // 1000) as start_time, make_timestamptz(end_ns // 1000) as end_time,
    'ok' as status_code, 'service-0' as service_name, '{{}}' as resource, 'bench' as scope_name, '{{}}' as attributes,
    '[]' as events, '[]' as links, 0 as flags, 0 as dropped_attributes_count, 0 as dropped_events_count,
    0 as dropped_links_count, make_timestamptz(start_ns // 1000) as received_time, 1 as received_seq
from range({count}) t(i)
"""

CALLS = """
select project, trace_id, span_id, null::varchar as parent_span_id, trace_id as episode_id, start_ns, end_ns,
    'made' as dialect, 'agent-' || hash(trace_id) % 5 as agent, 'model' as model_requested, 'model' as model_returned,
    '[{{"role":"user","text":"question ' || left(trace_id, 6) || '"}}]' as input,
    '[{{"role":"assistant","text":"answer"}}]' as output, null::varchar as policy_version, null::varchar as error,
    [] ::varchar[] as merged_span_ids, null::varchar as usage, false as truncated
from {day}.spans
where name = 'step 3'
"""

TRANSITIONS = """
select project, trace_id as episode_id, trace_id, span_id, 'agent-' || hash(trace_id) % 5 as agent, 0 as step,
    left(trace_id, 5) as task_id, start_ns, end_ns, 'model' as behavior_model, null::varchar as policy_version,
    (hash(trace_id) % 2)::double as reward, (hash(trace_id) % 2)::double as outcome, 'C' as evidence,
    '[]' as observation, '{{}}' as action
from {day}.spans
where name = 'step 3'
"""

EPISODES = """
select project, trace_id as episode_id, [trace_id] as trace_ids, service_name,
    ['agent-' || hash(trace_id) % 5] as agents, (hash(trace_id) % 2)::double as outcome, start_ns, end_ns
from {day}.spans
where name = 'attempt'
"""

FILTERS = {
    "newest": "/traces",
    "service": "/traces?service=service-{n7}",
    "older": "/traces?before={at}.~",
    "status": "/traces?status=error&before={at}.~",
    "agent": "/traces?agent=agent-{n5}",
    "outcome": "/traces?outcome_from=1&before={at}.~",
    "evidence": "/traces?evidence=C",
    "time": "/traces?since={since}&until={until}",
}


def make(data: Path, num_spans: int) -> int:
    """Make the day before today; return when it begins."""
    day = datetime.now(UTC).date() - timedelta(days=1)
    began_ns = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
    spans_directory(data).mkdir(parents=True)
    connection = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "6GB"})
    attach(connection, spans_directory(data) / f"{day}.duckdb", day, read_only=False, name="made")
    connection.execute(SPANS.format(day="made"), [began_ns, max(num_spans // 10, 1), num_spans])
    connection.execute(LARGE_TRACE.format(day="made", count=LARGE_SPANS), [LARGE, began_ns, began_ns])
    connection.execute(f"insert into made.trace_parts {OF_SPANS.format(spans='made.spans')} order by start_ns")
    connection.execute("insert into made.landed values (?)", [2 + num_spans // 1000])
    files: dict[str, list[Path]] = {}
    for table, sql in (("llm_calls", CALLS), ("transitions", TRANSITIONS), ("episodes", EPISODES)):
        path = data / "dataset" / table / "made.parquet"
        path.parent.mkdir(parents=True)
        connection.execute(f"copy ({sql.format(day='made')}) to '{path}' (format parquet, row_group_size 100000)")
        files[table] = [path]
    connection.execute("checkpoint made")
    connection.close()
    show_files(data, files)
    return began_ns


def made_before(data: Path) -> int | None:
    """Return when the day begins that was made here on another run, None where there is none."""
    days = sorted(spans_directory(data).glob("*.duckdb"))
    return int(datetime.fromisoformat(f"{days[0].stem}T00:00+00:00").timestamp()) * 10**9 if days else None


@contextmanager
def page(data: Path) -> Iterator[tuple[int, str]]:
    """Run the page on a free port; yield its process id and address."""
    port = free_port()
    command = spanloop_command("page", "--data", str(data), "--listen", f"127.0.0.1:{port}")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not answers(f"http://127.0.0.1:{port}/healthz"):
                time.sleep(0.05)
            yield process.pid, f"127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def arriving(server: Server, spans_per_s: int) -> Iterator[list[int]]:
    """Send spans at a rate while the block runs; yields how many were taken."""
    ended, taken = threading.Event(), [0]
    bodies = make_bodies("small", 4)

    def send() -> None:
        address = urlsplit(server.http)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        number, began = 0, time.monotonic()
        while not ended.wait(max(0.0, began + number * SPANS_A_REQUEST / spans_per_s - time.monotonic())):
            headers = {"Content-Type": "application/x-protobuf"}
            connection.request("POST", "/v1/traces", numbered(bodies[number % len(bodies)], number), headers)
            response = connection.getresponse()
            response.read()
            taken[0] += SPANS_A_REQUEST if response.status == 200 else 0
            number += 1

    thread = threading.Thread(target=send, daemon=True)
    if spans_per_s:
        thread.start()
    try:
        yield taken
    finally:
        ended.set()
        if spans_per_s:
            thread.join()


class Counter(HTMLParser):
    """Counts the elements of a page."""

    count = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - its signature
        """Count one."""
        self.count += 1


def timed(address: str, path: str) -> tuple[float, float, str]:
    """Return milliseconds until the first byte and the last of a page, and the page."""
    connection = http.client.HTTPConnection(address, timeout=120)
    began = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    first = response.read(1)
    first_ms = (time.perf_counter() - began) * 1000
    text = (first + response.read()).decode()
    took_ms = (time.perf_counter() - began) * 1000
    if response.status != 200:
        raise RuntimeError(f"{path} answered {response.status}")
    return first_ms, took_ms, text


def ask(address: str, began_ns: int, rounds: int) -> dict[str, Any]:
    """Ask for the list by every filter, so many times each."""
    chance = random.Random(5)
    found: dict[str, Any] = {}
    every: list[float] = []
    for name, template in FILTERS.items():
        took: list[float] = []
        for _ in range(rounds):
            at = began_ns + chance.randrange(DAY_NS // 10, DAY_NS * 9 // 10)
            since, until = (
                datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M") for ns in (at - DAY_NS // 24, at)
            )
            path = template.format(n7=chance.randrange(7), n5=chance.randrange(5), at=at, since=since, until=until)
            _, took_ms, text = timed(address, path)
            if text.count("<tr data-id=") == 0:
                raise RuntimeError(f"{path} shows nothing")
            took.append(took_ms)
        every += took
        found[name] = {"p50_ms": round(statistics.median(took)), "p95_ms": round(quantile(took, 0.95))}
    found["all"] = {"p50_ms": round(statistics.median(every)), "p95_ms": round(quantile(every, 0.95))}
    return found


def quantile(values: list[float], share: float) -> float:
    """Return the value that this share of the values is at most."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def resident_mb(pid: int, what: str = "VmHWM") -> int:
    """Return resident memory of a process in MiB, the most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) // 1024


def main() -> None:
    """Make the spans, ask, and print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=20, help="times each page is asked for")
    parser.add_argument("--rate", type=int, default=2000, help="spans a second that arrive meanwhile; 0 for none")
    parser.add_argument("--data", type=Path, help="make the spans here and keep them, or measure those of before")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = arguments.data or Path(directory) / "data"
        began = time.monotonic()
        began_ns = made_before(data) or make(data, arguments.spans)
        made_s = time.monotonic() - began
        with receiver(data) as server, page(data) as (pid, address):
            idle_mb = resident_mb(pid)
            timed(address, "/traces")
            with arriving(server, arguments.rate) as taken:
                large = [timed(address, f"/traces/{LARGE}") for _ in range(arguments.rounds)]
                lists = ask(address, began_ns, arguments.rounds)
            counter = Counter()
            counter.feed(large[0][2])
            measured = {
                "spans": arguments.spans,
                "made_s": round(made_s),
                "load": os.getloadavg()[0],
                "arriving_spans_per_s": arguments.rate,
                "taken_spans": taken[0],
                "trace_of_20000": {
                    "first_byte_p95_ms": round(quantile([first for first, _, _ in large], 0.95)),
                    "p50_ms": round(statistics.median(took for _, took, _ in large)),
                    "p95_ms": round(quantile([took for _, took, _ in large], 0.95)),
                    "elements": counter.count,
                },
                "list": lists,
                "page_mb": {"idle": idle_mb, "most": resident_mb(pid)},
            }
    sys.stdout.write(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
