"""Faults of engine, gateway, changes, calls and keys: each does its harm, undoes it, and says what it saw."""

import json
import os
import resource
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.soak.harm import pause, wait_for_end
from benchmarks.soak.world import World
from foundation.web.keys import Scope, create_key, read_keys, revoke_key
from serve.schema import read_registry

# --- the engine


def engine_killed(world: World) -> str:
    """Kill the engine."""
    os.kill(world.engine_pid(), signal.SIGKILL)
    return "killed"


def engine_hung(world: World) -> str:
    """Stop the engine for good: somebody has to notice."""
    pid = world.engine_pid()
    os.kill(pid, signal.SIGSTOP)
    return f"replaced after {wait_for_end(pid, 40):.0f} s"


def engine_paused(world: World) -> str:
    """Stop the engine for less than what counts as hung."""
    pause(world.engine_pid(), 5)
    return "went on"


# --- the gateway


def gateway_killed(world: World) -> str:
    """Kill the gateway, engine and all."""
    world.gateway_kills.append(time.monotonic())
    world.gateway.kill()
    world.gateway.wait()
    world.start_gateway()
    return "started again"


def gateway_ended(world: World) -> str:
    """End the gateway as a supervisor does, its whole group."""
    os.killpg(world.gateway.pid, signal.SIGTERM)
    status = world.gateway.wait(60)
    world.start_gateway()
    assert status == 0, f"it ended with {status}"
    return "ended with 0, started again"


def gateway_paused(world: World) -> str:
    """Stop the gateway for some seconds."""
    pause(world.gateway.pid, 5)
    return "went on"


def second_gateway(world: World) -> str:
    """Start another gateway on the same data."""
    status = world.command("serve", "run", "--listen", "127.0.0.1:0").returncode
    assert status == 75, f"it ended with {status}"
    return "refused with 75"


def gateway_disk_full(world: World) -> str:
    """No file may grow: the registry, its trail and the spool cannot be written."""
    before = read_registry(world.data)
    limits = resource.prlimit(world.gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(world.gateway.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        status = world.command("serve", "promote", str(world.models[2])).returncode
    finally:
        resource.prlimit(world.gateway.pid, resource.RLIMIT_FSIZE, limits)
    after = read_registry(world.data)
    assert status in (0, 1, 75), f"promote ended with {status}"
    assert (after == before) == (status != 0 or before is None or before.live == str(world.models[2])), "half changed"
    return f"promote ended with {status}"


# --- changes


def promotion(world: World) -> str:
    """Promote some checkpoint."""
    target = world.random.choice(world.models[1:])
    status = world.command("serve", "promote", str(target)).returncode
    assert status in (0, 75), f"it ended with {status}"
    return f"ended with {status}"


def rollback(world: World) -> str:
    """Roll back, as far as there is something before."""
    status = world.command("serve", "rollback").returncode
    assert status in (0, 2, 75), f"it ended with {status}"
    return f"ended with {status}"


def canary(world: World) -> str:
    """Give a checkpoint a share of the calls, and take it away."""
    found = read_registry(world.data)
    assert found is not None
    target = next(path for path in world.models[1:] if str(path) != found.live)
    started = world.command("serve", "canary", "--share", "0.3", "--hold", str(target)).returncode
    time.sleep(4)
    ended = world.command("serve", "rollback").returncode
    assert {started, ended} <= {0, 75}, f"ended with {started} and {ended}"
    return f"ended with {started}, rollback with {ended}"


def damaged_checkpoint(world: World) -> str:
    """Promote a checkpoint with one bit changed."""
    path = world.root / "damaged"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(world.models[1], path)
    weights = path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9] ^= 1
    weights.write_bytes(content)
    status = world.command("serve", "promote", str(path)).returncode
    assert status == 3, f"it ended with {status}"
    return "refused with 3"


def missing_checkpoint(world: World) -> str:
    """Promote what is not there."""
    ended = world.command("serve", "promote", str(world.root / "nowhere"))
    assert ended.returncode == 3, f"it ended with {ended.returncode}"
    assert "Traceback" not in ended.stderr
    return "refused with 3"


# --- calls


def malformed_calls(world: World) -> str:
    """Call with odd types and values."""
    odd: list[dict[str, Any]] = [
        {"messages": ["hello"]}, {"messages": 5}, {"tools": "abc"}, {"tools": [5]}, {"response_format": "json"},
        {"stop": [*range(9), "a"]}, {"seed": "x"}, {"temperature": -1}, {"max_tokens": 2**70}, {"n": {}},
        {"model": None}, {"messages": [{"role": "user", "content": {"a": 1}}]}, {"logit_bias": [1]},
    ]  # fmt: skip
    seen = Counter(world.ask(**request) for request in odd for _ in range(10))
    assert set(seen) <= {200, 400, 404, 503}, f"{seen}"
    return str(dict(seen))


def calls_broken_off(world: World) -> str:
    """Leave in the middle of streams."""
    host, _, port = world.url.removeprefix("http://").partition(":")
    body = json.dumps(
        {"model": "base", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 400, "stream": True}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {world.keys['agents']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(30):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall((head + body).encode())
            connection.recv(64)
    return "30 left in the middle"


def idle_connections(world: World) -> str:
    """Connect and say nothing."""
    host, _, port = world.url.removeprefix("http://").partition(":")
    held = [socket.create_connection((host, int(port)), timeout=20) for _ in range(400)]
    outcome = world.ask()
    for each in held:
        each.close()
    assert outcome in (200, 503), f"{outcome}"
    return f"a call beside 400 idle ones: {outcome}"


def burst(world: World) -> str:
    """Call 300 times at once."""
    with ThreadPoolExecutor(150) as pool:
        seen = Counter(pool.map(lambda _: world.ask(max_tokens=2), range(300)))
    assert set(seen) <= {200, 503}, f"{seen}"
    return str(dict(seen))


def wrong_keys(world: World) -> str:
    """Call with keys that do not open the gateway."""
    seen = [world.ask(key="sl_x_y"), world.ask(key=world.keys["loader"]), world.ask(key=world.keys["stranger"])]
    assert seen == [401, 403, 403], f"{seen}"
    return "401, 403, 403"


# --- keys


def agents_key_rotated(world: World) -> str:
    """Make the agents another key and revoke the one they had."""
    old = world.keys["agents"]
    world.keys["agents"] = create_key(world.data, name="agents", project="p", scopes=[Scope.SERVE])
    time.sleep(1.5)
    revoke_key(world.data, old.split("_")[1])
    time.sleep(1.5)
    assert world.ask(key=old) == 401, "the old one still opens"
    return "old 401, new 200"


def key_made_and_revoked(world: World) -> str:
    """Make a key and revoke it."""
    create_key(world.data, name="short", project="p", scopes=[Scope.SERVE])
    time.sleep(1)
    for key in read_keys(world.data):
        if key.name == "short":
            revoke_key(world.data, key.id)
    return "made and revoked"


def gateway_clock_jumps(world: World) -> str:
    """Set the clock of gateway and engine ahead and back."""
    for clock_s in (86_400, -86_400):
        with world.machines["gateway"].failing(clock_s=clock_s):
            time.sleep(3)
    return "a day ahead, a day back"


def gateway_disk_fails(world: World) -> str:
    """Let no sync of the registry or of the spool work while the model is to change."""
    before = read_registry(world.data)
    with world.machines["gateway"].failing(has_io_errors=True):
        status = world.command("serve", "promote", str(world.models[1])).returncode
    after = read_registry(world.data)
    assert status in (0, 1, 75), f"promote ended with {status}"
    assert (after == before) == (status != 0 or before is None or before.live == str(world.models[1])), "half changed"
    return f"promote ended with {status}"


def control_port_asked_by_a_stranger(world: World) -> str:
    """Ask the control endpoint to promote, with a guessed token."""
    from serve.schema import read_server

    server = read_server(world.data)
    assert server is not None
    request = urllib.request.Request(f"{server.control_url}/promote", b"{}", {"Authorization": "Bearer guess"})
    status = 200
    try:
        urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        status = error.code
    assert status == 401, f"{status}"
    return "401"


def gateway_ended_while_receiver_away(world: World) -> str:
    """End the gateway while its spans have nowhere to go."""
    world.receiver.kill()
    time.sleep(4)
    gateway_ended(world)
    found = world.status() or {}
    world.start_receiver()
    return f"{found.get('num_spans_waiting')} spans outlived the gateway"
