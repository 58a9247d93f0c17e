"""Memory that is free to take: the machine's, or what a container's limit leaves."""

import sys
from pathlib import Path

from etl.runs.cores import available_bytes


def test_the_tighter_of_machine_and_container_decides(tmp_path: Path) -> None:
    """No limit, one that leaves something, one that is reached."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    (proc / "meminfo").write_text("MemTotal: 4096 kB\nMemAvailable:   2048 kB\n")
    free = 2048 * 1024

    assert available_bytes(proc, cgroup) == free
    cases = (("max", "5", free), ("1000", "400", 600), ("1000", "4000", 0), (str(2**40), "0", free))
    for limit, used, expected in cases:
        (cgroup / "memory.max").write_text(f"{limit}\n")
        (cgroup / "memory.current").write_text(f"{used}\n")
        assert available_bytes(proc, cgroup) == expected


def test_where_nobody_says_there_is_no_limit(tmp_path: Path) -> None:
    """Not Linux."""
    assert available_bytes(tmp_path, tmp_path) == sys.maxsize
