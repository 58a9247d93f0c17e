"""Two machines on one: network namespaces with a cable between them, each blind to the other's files.

Needs iproute2, util-linux and the rights of root; `why_not` says what is missing.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_HIDING = 'for place in $HIDDEN; do mount -t tmpfs none "$place" || exit 1; done; exec "$@"'


def why_not() -> str:
    """Say why there can be no such machines here; nothing where there can."""
    if missing := [tool for tool in ("ip", "unshare", "mount") if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}: apt install iproute2 util-linux mount"
    name = f"spanloop-try-{os.getpid()}"
    tried = [
        ["ip", "netns", "add", name],
        ["ip", "netns", "exec", name, "unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        [
            "ip",
            "link",
            "add",
            f"slt{os.getpid()}"[-15:],
            "netns",
            name,
            "type",
            "veth",
            "peer",
            "name",
            "b",
            "netns",
            name,
        ],
    ]
    try:
        for command in tried:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                return f"may not make network namespaces: {' '.join(command[:3])}: {made.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return ""


@dataclass
class Machine:
    """A network namespace of its own, with a directory the other machine sees empty."""

    name: str
    address: str
    home: Path
    hidden: Path
    """The other machine's home."""

    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *arguments: object) -> list[str]:
        """Return the command line that runs a program here."""
        inside = ["unshare", "--mount", "sh", "-c", f"HIDDEN={self.hidden}; {_HIDING}", "sh"]
        return ["ip", "netns", "exec", self.name, *inside, *map(str, arguments)]

    def run(self, *arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, in `home`."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            env={**os.environ, **(environment or {})},
        )

    def start(
        self, *arguments: object, environment: dict[str, str] | None = None, output: str = "server.log"
    ) -> subprocess.Popen[bytes]:
        """Start a program, its output into a file of `home`."""
        with (self.home / output).open("wb") as log:
            process = subprocess.Popen(
                self.command(*arguments),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env={**os.environ, **(environment or {})},
            )
        self.servers.append(process)
        return process

    def wait_for(
        self,
        url: str,
        process: subprocess.Popen[bytes],
        *,
        environment: dict[str, str] | None = None,
        timeout_s: float = 300,
    ) -> None:
        """Wait until an address answers 200 from here."""
        probe = "import sys; from foundation.web.http import answers; sys.exit(not answers(sys.argv[1]))"
        deadline = time.monotonic() + timeout_s
        while self.run(sys.executable, "-c", probe, url, environment=environment).returncode:
            assert process.poll() is None, [path.read_text()[-3000:] for path in self.home.glob("*.log")]
            assert time.monotonic() < deadline, f"{url} is not ready"

    def stop(self) -> None:
        """End what was started here."""
        for process in reversed(self.servers):
            process.terminate()
        for process in self.servers:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def two_machines(homes: Sequence[Path]) -> Iterator[tuple[Machine, Machine]]:
    """Make two machines that see each other by address and nothing else; what runs on them ends with the block."""
    first, second = homes
    names = [f"spanloop-{os.getpid()}-{end}" for end in "ab"]
    cables = [f"sl{os.getpid()}{end}"[-15:] for end in "ab"]
    addresses = ["10.231.0.1", "10.231.0.2"]
    machines = (
        Machine(names[0], addresses[0], first, hidden=second),
        Machine(names[1], addresses[1], second, hidden=first),
    )
    made: list[str] = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", cables[0], "netns", names[0], "type", "veth", "peer", "name", cables[1], "netns", names[1])
        for name, cable, address in zip(names, cables, addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            _ip("-n", name, "link", "set", cable, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield machines
    finally:
        for machine in machines:
            machine.stop()
        for name in made:
            _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
