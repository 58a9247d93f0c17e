"""Three receivers behind a balancer by trace id beside one behind the same: what each lands, and what kills cost.

    python -m benchmarks.ingest.several --mix llm --requests 150 --cores-each 0.15
    python -m benchmarks.ingest.several --mix llm --requests 300 --kills 12

With `--cores-each` every receiver has that share of a core and no more, by the kernel's quota (cgroups, as root): else
what one and three receivers land on a machine with few cores says how many cores there are. With `--kills` receivers
and the balancer are killed (SIGKILL) in turns and started again on their directories and addresses while the load goes
on. Every span is counted at the end: what was acknowledged has to be in one receiver, once.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import psutil

from benchmarks.ingest.load import SPANS_A_REQUEST, SPANS_A_TRACE, Sender, make_bodies, start, trace_id
from benchmarks.ingest.servers import Server, free_address, query, wait_until_landed

QUOTAS = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 100_000


class Process:
    """A command that can be killed and started again as it was; its CPU seconds over all its lives."""

    def __init__(self, command: Sequence[str], address: str, quota: Path | None) -> None:
        self._command, self._address, self._quota = command, address, quota
        self._cpu_before = 0.0
        self.num_kills = 0
        self.start()

    def start(self) -> None:
        """Start it, and return once it takes requests."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with grpc.insecure_channel(self._address) as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
        for one in self._tree() if self._quota is not None else ():
            (self._quota / "cgroup.procs").write_text(str(one.pid))

    def _tree(self) -> list[psutil.Process]:
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    @property
    def server(self) -> Server:
        """Return it as what the other benchmarks ask."""
        return Server(self._process.pid, self._address, f"http://{self._command[-1]}", 0.0)

    @property
    def cpu_s(self) -> float:
        """CPU seconds used so far, by its children too."""
        used = self._cpu_before
        for one in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                used += times.user + times.system
        return used

    def kill_and_start(self) -> None:
        """Kill it where it stands, and start it again."""
        self._cpu_before = self.cpu_s
        self._process.kill()
        self._process.wait()
        self.num_kills += 1
        self.start()

    def end(self) -> None:
        """End it in order."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def quotas(count: int, cores_each: float | None) -> Iterator[list[Path | None]]:
    """Yield a group of the kernel's for each receiver, in which it has its share of a core; none where all is free."""
    if cores_each is None:
        yield [None] * count
        return
    groups = [QUOTAS / f"receiver-{os.getpid()}-{number}" for number in range(count)]
    try:
        for group in groups:
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(int(cores_each * PERIOD_US)))
        yield list(groups)
    finally:
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()


def receiver_command(data: Path, grpc_address: str, http_address: str) -> list[str]:
    """Return the command of a receiver; its last word is where it answers SQL."""
    command = [sys.executable, "-m", "spanloop", "receiver", "run", "--data", str(data)]
    return [*command, "--grpc", grpc_address, "--http", http_address]


def measure(
    bodies: Sequence[bytes], num_requests: int, *, count: int, in_flight: int, cores_each: float | None, num_kills: int
) -> dict[str, object]:
    """Send everything through a balancer to so many receivers; wait until it has landed; look for every span."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        groups = stack.enter_context(quotas(count, cores_each))
        addresses = [free_address() for _ in range(count)]
        receivers = []
        for number, (address, group) in enumerate(zip(addresses, groups, strict=True)):
            command = receiver_command(Path(directory) / str(number), address, free_address())
            receivers.append(Process(command, address, group))
            stack.callback(receivers[-1].end)
        front = free_address()
        balancer = Process([sys.executable, "-m", "benchmarks.ingest.balancer", front, *addresses], front, None)
        stack.callback(balancer.end)
        cpu_before, own_before = [one.cpu_s for one in receivers], time.process_time()
        began = time.perf_counter()
        senders = start(front, bodies, range(1, num_requests + 1), in_flight=in_flight)
        _kill_in_turns([*receivers, balancer], num_kills, senders)
        for sender in senders:
            sender.finish()
        acknowledged_s = time.perf_counter() - began
        for one in receivers:
            wait_until_landed(one.server)
        landed_s = time.perf_counter() - began
        cpu_s = [one.cpu_s - before for one, before in zip(receivers, cpu_before, strict=True)]
        lost, doubled = _missing(receivers, num_requests)
        num_spans = num_requests * SPANS_A_REQUEST
        return {
            "receivers": count,
            "spans": num_spans,
            "acknowledged_per_s": round(num_spans / acknowledged_s),
            "landed_per_s": round(num_spans / landed_s),
            "cores_each": [round(one / landed_s, 3) for one in cpu_s],
            "us_of_cpu_a_span": round(sum(cpu_s) / num_spans * 1e6, 1),
            "cores_balancer": round(balancer.cpu_s / landed_s, 2),
            "cores_load": round((time.process_time() - own_before) / landed_s, 2),
            "refused": sum(sender.refused for sender in senders),
            "kills": [one.num_kills for one in (*receivers, balancer)],
            "lost": lost,
            "doubled": doubled,
        }


def _kill_in_turns(processes: Sequence[Process], num_kills: int, senders: Sequence[Sender]) -> None:
    chance = random.Random(17)
    for one in itertools.islice(itertools.cycle(processes), num_kills):
        time.sleep(chance.uniform(0.3, 1.5))
        if not any(sender.is_alive() for sender in senders):
            raise RuntimeError("the load ended before all was killed: more --requests")
        one.kill_and_start()


def _missing(receivers: Sequence[Process], num_requests: int) -> tuple[int, int]:
    """Return how many spans are in no receiver, and how many more than once."""
    held: dict[str, int] = {}
    for one in receivers:
        for row in query(one.server, "select trace_id, count(*) as n from spans group by all"):
            trace = str(row["trace_id"])
            held[trace] = held.get(trace, 0) + int(str(row["n"]))
    sent = [
        trace_id(number, trace)
        for number in range(1, num_requests + 1)
        for trace in range(SPANS_A_REQUEST // SPANS_A_TRACE)
    ]
    lost = sum(max(0, SPANS_A_TRACE - held.get(trace, 0)) for trace in sent)
    doubled = sum(max(0, held.get(trace, 0) - SPANS_A_TRACE) for trace in sent)
    return lost, doubled + sum(held[trace] for trace in set(held) - set(sent))


def main() -> None:
    """Run both and print each as a line of JSON, and the ratio of what they landed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mix", choices=["small", "llm"], default="llm")
    parser.add_argument("--requests", type=int, default=150, help="of 512 spans")
    parser.add_argument("--in-flight", type=int, default=12)
    parser.add_argument("--receivers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--cores-each", type=float, help="share of a core that a receiver has; default: what there is")
    parser.add_argument("--kills", type=int, default=0)
    arguments = parser.parse_args()
    bodies = make_bodies(arguments.mix, 32)
    landed = []
    for count in arguments.receivers:
        figures = measure(
            bodies,
            arguments.requests,
            count=count,
            in_flight=arguments.in_flight,
            cores_each=arguments.cores_each,
            num_kills=arguments.kills,
        )
        print(json.dumps(figures), flush=True)
        landed.append(float(str(figures["landed_per_s"])))
    print(json.dumps({"mix": arguments.mix, "to_the_first": [round(one / landed[0], 2) for one in landed]}))


if __name__ == "__main__":
    main()
