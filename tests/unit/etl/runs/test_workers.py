"""How many processes a run takes follows from cores, memory and work."""

from pathlib import Path

import pytest

from etl.runs import workers
from etl.runs.buckets import Bucket
from etl.runs.cores import available_bytes
from etl.runs.run import overlapping
from etl.runs.work import Processed
from etl.settings import EtlConfig

GIB = 2**30


def buckets(*sizes: int) -> list[Bucket]:
    """Return buckets of so many spans."""
    return [Bucket(num_spans=size) for size in sizes]


@pytest.mark.parametrize(
    ("sizes", "cores", "memory", "expected"),
    [
        ((50_000,) * 20, 2, 8 * GIB, 2),
        ((50_000,) * 20, 64, 64 * GIB, 20),
        ((50_000,) * 20, 64, 4 * GIB, 4),
        ((50_000,) * 20, 2, GIB // 4, 1),
        ((10, 10, 10), 8, 64 * GIB, 1),
        ((), 8, 64 * GIB, 1),
    ],
    ids=["cores", "buckets", "memory", "little memory", "little work", "nothing"],
)
def test_the_scarcest_decides(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], cores: int, memory: int, expected: int
) -> None:
    """A process more is started only where there is a core, memory and work for it."""
    monkeypatch.setattr(workers, "num_cores", lambda: cores)
    monkeypatch.setattr(workers, "available_bytes", lambda: memory)

    assert workers.choose_workers(EtlConfig(), buckets(*sizes)) == expected


def test_the_setting_wins_but_for_idle_hands() -> None:
    """More processes than buckets would only start and end."""
    assert workers.choose_workers(EtlConfig(workers=3), buckets(1, 1, 1, 1)) == 3
    assert workers.choose_workers(EtlConfig(workers=3), buckets(1)) == 1


def test_memory_is_what_the_container_leaves(tmp_path: Path) -> None:
    """The machine may have more than this process is allowed."""
    (tmp_path / "meminfo").write_text("MemTotal:  9000000 kB\nMemAvailable:    4194304 kB\n")
    assert available_bytes(tmp_path, tmp_path / "none") == 4 * GIB

    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    (tmp_path / "memory.max").write_text(f"{2 * GIB}\n")
    assert available_bytes(tmp_path, tmp_path) == GIB

    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path, tmp_path) == 4 * GIB


def test_results_that_share_a_trace_belong_together() -> None:
    """Directly or through a third."""
    results = [Processed({("p", name) for name in names}, {}, {}) for names in ("ab", "c", "de", "cd", "f", "bg")]

    assert overlapping(results) == [[0, 5], [1, 2, 3], [4]]
