"""Faults of the receiver, its clients, clock and disk: each does its harm, undoes it, and says what it saw."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import grpc

from benchmarks.soak.harm import pause
from benchmarks.soak.world import World
from tests.integration.receiver.processes import TRACES


def receiver_killed(world: World) -> str:
    """Kill the receiver."""
    world.receiver.kill()
    world.start_receiver()
    return "started again"


def receiver_ended(world: World) -> str:
    """End the receiver as a supervisor does."""
    _end_receiver(world)
    world.start_receiver()
    return "ended with 0, started again"


def receiver_paused(world: World) -> str:
    """Stop the receiver for some seconds."""
    pause(world.receiver.process.pid, 8)
    return "went on"


def receiver_away(world: World) -> str:
    """Kill the receiver and start it much later."""
    world.receiver.kill()
    time.sleep(15)
    found = world.status() or {}
    world.start_receiver()
    return f"{found.get('num_spans_waiting')} spans waited, {found.get('num_spans_spooled')} of them on disk"


def receiver_disk_full(world: World) -> str:
    """Let no file of the receiver grow."""
    pid = world.receiver.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    time.sleep(6)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    return "no file could grow for 6 s"


def malformed_exports(world: World) -> str:
    """Send bytes that are no export."""
    seen: Counter[str] = Counter()
    metadata = (("authorization", f"Bearer {world.keys['loader']}"),)
    with grpc.insecure_channel(world.receiver.grpc) as channel:
        for _ in range(50):
            try:
                channel.unary_unary(TRACES)(world.random.randbytes(200), timeout=10, metadata=metadata)
                seen["taken"] += 1
            except grpc.RpcError as error:
                seen[error.code().name] += 1
    return str(dict(seen))


def slow_query(world: World) -> str:
    """Ask for more than a query may take."""
    ended = world.command("sql", "select count(*) from range(3000000) a, range(300) b where a.range % 7 = b.range")
    assert "Traceback" not in ended.stderr
    return f"ended with {ended.returncode}"


def backup(world: World) -> str:
    """Back up while spans arrive."""
    target = world.root / f"backup-{time.monotonic_ns()}"
    ended = world.command("receiver", "backup", "--out", str(target))
    assert "Traceback" not in ended.stderr, ended.stderr[-300:]
    assert ended.returncode in (0, 75), f"it ended with {ended.returncode}: {ended.stderr[-300:]}"
    if ended.returncode:
        return "busy"
    whole = [sys.executable, "-m", "spanloop", "receiver", "verify", "--data", str(target)]
    verified = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120)
    shutil.rmtree(target, ignore_errors=True)
    assert verified.returncode == 0, verified.stdout[-300:] + verified.stderr[-300:]
    return "made, and sound"


def verified_while_running(world: World) -> str:
    """Verify what a receiver holds: it is refused."""
    ended = world.command("receiver", "verify")
    assert ended.returncode == 75, f"it ended with {ended.returncode}: {ended.stderr[-300:]}"
    return "refused with 75"


def receiver_clock_leaps(world: World) -> str:
    """Set the receiver's clock two days ahead for some seconds, and right again."""
    with world.machines["receiver"].failing(clock_s=2 * 86_400):
        time.sleep(6)
    return "two days ahead for 6 s"


def receiver_clock_set_back(world: World) -> str:
    """Set the receiver's clock back for some seconds."""
    with world.machines["receiver"].failing(clock_s=-3 * 3600):
        time.sleep(6)
    return "three hours back for 6 s"


def day_sealed(world: World) -> str:
    """Start the receiver two more days on, where it seals what it has, and again with the clock right."""
    world.days_on += 2
    _end_receiver(world)
    with world.machines["receiver"].failing(clock_s=world.days_on * 86_400):
        world.start_receiver()
        time.sleep(8)
        _end_receiver(world)
    world.start_receiver()
    num_sealed = world.read("receiver").count("sealed")
    return f"{len(list((world.data / 'spans').glob('*.duckdb')))} days, {num_sealed} sealed by now"


def pruned(world: World) -> str:
    """Prune: refused beside a receiver; without one nothing goes that is not old enough."""
    beside = world.command("receiver", "prune", "--retain-days", "3")
    _end_receiver(world)
    alone = world.command("receiver", "prune", "--retain-days", "3")
    world.start_receiver()
    assert (beside.returncode, alone.returncode) == (75, 0), f"{beside.stderr[-300:]}{alone.stderr[-300:]}"
    return "refused with 75 beside it, 0 without it"


def _end_receiver(world: World) -> None:
    world.receiver.process.send_signal(signal.SIGTERM)
    status = world.receiver.process.wait(120)
    assert status == 0, f"it ended with {status}"


def receiver_disk_fails(world: World) -> str:
    """Every sync and write of the receiver's is an I/O error."""
    with world.machines["receiver"].failing(has_io_errors=True):
        time.sleep(5)
    return "EIO for 5 s"


def receiver_disk_slow(world: World) -> str:
    """Every sync of the receiver's takes half a second longer."""
    with world.machines["receiver"].failing(sync_ms=500):
        time.sleep(8)
    return "500 ms a sync for 8 s"
