"""When it is time for a window, and what becomes of one that was refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.errors import Busy, ExitStatus
from serve.schema import Registry, registry_path
from spanloop.nightly.windows import Readiness, count_episodes, watch
from spanloop.processes import StageFailed
from tests.logged import frame, publish, transition


def episodes(version: str, number: int, **fields: object) -> list[dict[str, object]]:
    return [
        transition(episode_id=f"{version}-{index}", step=step, policy_version=version) | fields
        for index in range(number)
        for step in range(2)
    ]


def go_live(data: Path, version: str) -> None:
    registry_path(data).parent.mkdir(exist_ok=True)
    registry = Registry(base="b", live=str(data), live_version=version, changed_time="2026-01-01")
    registry_path(data).write_text(registry.model_dump_json())


def test_rewarded_episodes_of_one_version_are_counted_once(tmp_path: Path) -> None:
    """However many calls they have; held out, unrewarded and others' are none."""
    assert count_episodes(tmp_path, "v1") == 0
    rows = [*episodes("v1", 3), *episodes("v0", 9)]
    rows += [row | {"episode_id": "h"} for row in episodes("v1", 1, split="heldout")]
    rows += [row | {"episode_id": "u"} for row in episodes("v1", 1, outcome=None)]
    publish(tmp_path, rows)

    assert count_episodes(tmp_path, "v1") == 3


def test_a_window_is_made_of_new_episodes_of_what_is_live(tmp_path: Path) -> None:
    """Those a window was made of count no more; another version begins anew; in time fewer are enough, none never."""
    publish(tmp_path, [])
    part = tmp_path / "dataset" / "transitions" / "part-0.parquet"
    now = [0.0]
    is_ready = Readiness(tmp_path, episodes=4, every_s=60, clock=lambda: now[0])
    assert not is_ready()  # nothing was ever served

    def at(time: float, version: str, number: int) -> bool:
        now[0] = time
        go_live(tmp_path, version)
        frame(episodes(version, number)).write_parquet(part)
        return is_ready()

    steps = [(1, "v1", 3), (2, "v1", 4), (3, "v1", 7), (4, "v1", 8), (5, "v2", 3), (65, "v2", 3), (200, "v2", 3)]
    assert [at(*step) for step in steps] == [False, True, False, True, False, True, False]


def test_refusals_are_waited_out_and_failures_end_it() -> None:
    """A refused window is a window; a busy one is tried again."""
    waits: list[float] = []
    ends: Iterator[bool | Exception] = iter(
        [True, False, StageFailed(["s"], ExitStatus.REFUSED, []), Busy("held"), True, True]
    )

    def window() -> bool:
        end = next(ends)
        if isinstance(end, Exception):
            raise end
        return end

    assert watch(window, poll_s=3, windows=3, sleep=waits.append) == 2
    assert waits == [3, 3, 3]
    with pytest.raises(StageFailed):
        watch(lambda: (_ for _ in ()).throw(StageFailed(["s"], 1, [])), poll_s=3, windows=1)
