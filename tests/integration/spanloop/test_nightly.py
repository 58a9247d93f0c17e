"""`spanloop nightly` as processes, killed at every step; its stages are of cardboard (`tests.nights`)."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus
from foundation.files import exclusive
from serve.schema import ServerInfo, server_path
from tests import nights

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    nights.serve(tmp_path / "data", tmp_path / "base")
    nights.arrive(tmp_path / "data", "spans")
    return tmp_path / "data"


def night(data: Path, stop: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.nights", str(data), stop, "nightly"]
    return subprocess.Popen(
        [*command, "--model", str(data.parent / "base"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(data: Path) -> tuple[int, dict[str, Any], str]:
    process = night(data)
    output, narration = process.communicate()
    return process.returncode, json.loads(output or "{}"), narration


def kill_at(data: Path, place: str) -> None:
    """Kill a night at one place, stage and all."""
    process = night(data, place)
    stopped = data / "stopped"
    deadline = time.monotonic() + 60
    while not (stopped.exists() and stopped.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stage = int(stopped.read_text())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while is_running(stage):
        assert time.monotonic() < deadline, "the stage outlived the night"
        time.sleep(0.01)
    stopped.unlink()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def checkpoints(data: Path) -> list[str]:
    return sorted(str(path) for path in (data / "checkpoints").iterdir())


@pytest.mark.parametrize("place", [f"{stage} {when}" for stage in nights.STAGES for when in ("before", "after")])
def test_a_night_killed_anywhere_is_finished_by_the_next_run(data: Path, place: str) -> None:
    """One checkpoint, trained once, live; what was done is not done again, and the run after has nothing to do."""
    kill_at(data, place)

    status, report, _ = run(data)

    assert status == ExitStatus.DONE
    assert checkpoints(data) == [report["checkpoint"]] == [(data / "live").read_text()]
    assert nights.count(data, "train run") == 1
    assert not (data / "nightly" / "night.json").exists()
    status, report, narration = run(data)
    assert (status, report["checkpoint"]) == (ExitStatus.DONE, None)
    assert "nothing new" in narration
    assert nights.count(data, "train run") == 1


def test_new_spans_make_a_new_night(data: Path) -> None:
    """And a refused night is over as well: only new spans give the next one something to do."""
    assert run(data)[0] == ExitStatus.DONE
    nights.arrive(data, "more spans")
    (data / "refuse").touch()

    statuses = [run(data)[0] for _ in range(2)]

    assert statuses == [ExitStatus.REFUSED, ExitStatus.DONE]
    assert nights.count(data, "train run") == 2
    assert nights.count(data, "serve promote") == 1


def test_what_was_refused_runs_again_once_something_was_mended(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting of a stage, here: with the same spans, and with what it now makes live. Then there is nothing new."""
    (data / "refuse").touch()
    status, report, narration = run(data)
    assert (status, report["status"]) == (ExitStatus.REFUSED, "refused")
    assert report["error"]["said"].endswith("it is worse")
    assert narration.count("it is worse") == 1
    assert "nothing new" in run(data)[2]

    (data / "refuse").unlink()
    monkeypatch.setenv("SPANLOOP_TRAIN_RUN_LEARNING_RATE", "0.00001")
    statuses = [run(data)[0] for _ in range(2)]

    assert statuses == [ExitStatus.DONE] * 2
    assert (nights.count(data, "train run"), nights.count(data, "serve promote")) == (2, 1)


def test_what_a_night_makes_is_compared_with_what_is_live(data: Path) -> None:
    """Not with its parent, which `--model` may have named among models of long ago."""
    nights.serve(data.parent / "other", data.parent / "live")
    (data / "serve" / "registry.json").write_bytes((data.parent / "other" / "serve" / "registry.json").read_bytes())

    assert run(data)[0] == ExitStatus.DONE

    assert (data / "against").read_text() == str(data.parent / "live")


def test_a_night_whose_result_nobody_could_promote_does_not_begin(data: Path) -> None:
    """Nothing was ever served: it says so first, and how to."""
    (data / "serve" / "registry.json").unlink()

    status, report, narration = run(data)

    assert (status, report["status"]) == (ExitStatus.SETTINGS, "settings")
    assert "spanloop serve run" in narration
    assert nights.count(data, "etl run") == 0


def test_a_checkpoint_that_was_lost_is_trained_again(data: Path) -> None:
    """Between two runs of one night somebody may tidy up."""
    kill_at(data, "train evaluate before")
    (lost,) = (data / "checkpoints").iterdir()
    (lost / "manifest.json").unlink()
    lost.rmdir()

    status, report, _ = run(data)

    assert status == ExitStatus.DONE
    assert checkpoints(data) == [report["checkpoint"]]
    assert nights.count(data, "etl run") == 1


def test_two_nights_never_run_at_once(data: Path) -> None:
    """The second ends with the status that means busy, and names the first."""
    with exclusive(data / "nightly" / "lock", purpose="spanloop nightly"):
        status, _, narration = run(data)

    assert status == ExitStatus.BUSY
    assert f"spanloop nightly (pid {os.getpid()}" in narration
    assert not (data / "work.log").exists()


def test_a_rehearsal_changes_nothing(data: Path) -> None:
    """`--dry-run` asks every stage for its own and leaves no night behind."""
    command = [sys.executable, "-m", "tests.nights", str(data), "", "nightly", "--dry-run"]
    subprocess.run([*command, "--model", str(data.parent / "base")], check=True, capture_output=True)

    assert {path.name for path in (data / "nightly").iterdir()} == {"lock"}
    assert not (data / "dataset").exists()


def test_what_killed_trainings_left_is_removed_once_it_is_old(data: Path) -> None:
    """A young one may be a training by hand that is being written this very second."""
    for name, age_s in ((".partial-old", 7200), (".partial-young", 0)):
        path = data / "checkpoints" / name
        path.mkdir(parents=True)
        os.utime(path, (time.time() - age_s,) * 2)

    assert run(data)[0] == ExitStatus.DONE

    assert [path.name for path in (data / "checkpoints").glob(".partial-*")] == [".partial-young"]


def test_a_night_may_end_in_a_canary(data: Path) -> None:
    """Told so, it gives its checkpoint a share of the calls, and makes nothing live."""
    command = [sys.executable, "-m", "tests.nights", str(data), "", "nightly", "--model", str(data.parent / "base")]

    ended = subprocess.run([*command, "--canary", "--json"], capture_output=True, text=True)

    assert ended.returncode == ExitStatus.DONE, ended.stderr
    assert (nights.count(data, "serve canary"), nights.count(data, "serve promote")) == (1, 0)


@pytest.mark.parametrize("is_served", [True, False])
def test_what_the_gate_leaves_open_users_settle_where_there_are_any(data: Path, *, is_served: bool) -> None:
    """With a gateway the night ends in a canary by itself, without one in a refusal."""
    (data / "open").touch()
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        info = ServerInfo(
            pid=1, url=url, control_url=url, control_token="t", engine="vllm", base="b", started_time="2026-01-01"
        )
        if is_served:
            server_path(data).parent.mkdir(exist_ok=True)
            server_path(data).write_text(info.model_dump_json())

        status, _, _ = run(data)
        server.shutdown()

    assert status == (ExitStatus.DONE if is_served else ExitStatus.REFUSED)
    assert (nights.count(data, "serve canary"), nights.count(data, "serve promote")) == (int(is_served), 0)


class Healthy(BaseHTTPRequestHandler):
    """A gateway that is alive, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ping" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
