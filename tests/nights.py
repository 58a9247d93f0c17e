"""A night with stages of cardboard: each leaves what the real one leaves, and stops dead where it is told to.

Run as `python -m tests.nights DATA STOP nightly [its arguments]`: the real `spanloop nightly`, whose stages are
killed. Where there is a file DATA/device, training needs it, and the pause is asked of a real gateway. Where nothing
arrived by `arrive`, the ETL is the real one.
"""

import itertools
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.files import write_json
from serve.change import registry
from tests.device import is_held
from train.schema import Manifest, model_version

STAGES = ("etl run", "train run", "train evaluate", "serve promote")


def arrive(data: Path, content: str) -> None:
    """Let spans arrive: what the cardboard ETL will publish."""
    (data / "arrived").write_text(content)


def serve(data: Path, model: Path) -> None:
    """Make a model live that has no weights."""
    model.mkdir()
    (model / "config.json").write_text("{}")
    registry.initialise(data, model, "base")


def count(data: Path, stage: str) -> int:
    """Return how often a stage did its work."""
    path = data / "work.log"
    return path.read_text().splitlines().count(stage) if path.exists() else 0


def etl(data: Path) -> dict[str, Any]:
    """Publish what arrived."""
    content = (data / "arrived").read_text()
    name = f"{len(content)}.parquet"
    directory = data / "dataset" / "transitions"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(content)
    window = {"window": name, "since_seq": 1, "until_seq": 1, "files": {"transitions": [name]}}
    write_json(
        data / "dataset" / "watermark.json",
        {"schema_version": 1, "received_seq": 1, "windows": [window], "pending": []},
    )
    return {"published": True}


def train(out: Path, parent: Path) -> dict[str, Any]:
    """Write a checkpoint without weights, on the device where the night has one."""
    device = out.parent / "device"
    if device.exists() and is_held(device):
        sys.stderr.write("CUDA out of memory\n")
        sys.exit(1)
    now = datetime.now(UTC)
    checkpoint = out / f"{now:%Y%m%dT%H%M%S.%f}"
    checkpoint.mkdir(parents=True)
    manifest = Manifest(
        checkpoint_id=checkpoint.name,
        parent=model_version(parent),
        weights_digest="0",
        tokenizer_digest="0",
        chat_template_digest=None,
        created_time=now.isoformat(),
        code_version="0",
        window={},
        settings={},
        metrics={},
        probes=[],
    )
    write_json(checkpoint / "manifest.json", manifest.model_dump(mode="json"))
    return {"checkpoint": str(checkpoint)}


def stage(data: Path, stop: str) -> None:
    """Do what a stage does, and leave a line that says so."""
    arguments = sys.argv[3:]
    name = " ".join(arguments[:2])
    given = dict(itertools.pairwise(arguments))
    pause(data, stop, f"{name} before")
    answer: dict[str, Any] = {}
    if "--dry-run" not in arguments:
        if name == "etl run":
            answer = etl(data)
        elif name == "train run":
            answer = train(Path(given["--out"]), Path(given["--model"]))
        elif name in ("serve promote", "serve canary"):
            (data / "live").write_text(arguments[4])
            answer = {"live": arguments[4]}
        elif name == "train evaluate":
            (data / "against").write_text(given["--against"])
        with (data / "work.log").open("a") as file:
            file.write(name + "\n")
    pause(data, stop, f"{name} after")
    if name == "train evaluate" and (data / "open").exists():
        asked = given.get("--inconclusive", "refuse")
        answer = {"gate": {"verdict": "inconclusive", "passed": asked == "accept", "reason": "few"}}
        if asked == "refuse":
            sys.exit(3)
    if name == "train evaluate" and (data / "refuse").exists():
        sys.stderr.write("spanloop: it is worse\n")
        sys.exit(3)
    sys.stdout.write(json.dumps(answer))


def pause(data: Path, stop: str, place: str) -> None:
    """Wait to be killed, where this is the place."""
    if stop == place:
        (data / "stopped").write_text(str(os.getpid()))
        time.sleep(600)


def main() -> None:
    """Be the night, or a stage of it."""
    data, stop = Path(sys.argv[1]), sys.argv[2]
    if sys.argv[3] != "nightly":
        stage(data, stop)
        return
    from spanloop import processes
    from spanloop.cli import main as spanloop
    from spanloop.nightly import device

    own = [sys.executable, "-m", "tests.nights", *sys.argv[1:3]]
    real = processes.spanloop_command
    are_real = {("serve", "pause"), ("serve", "resume")} if (data / "device").exists() else set()
    if not (data / "arrived").exists():
        are_real.add(("etl", "run"))

    def command(*arguments: str) -> list[str]:
        return real(*arguments) if arguments[:2] in are_real else [*own, *arguments]

    processes.spanloop_command = command
    device.spanloop_command = command
    device.LEASE_S, device.RENEW_S = 60.0, 5.0
    sys.argv = ["spanloop", "nightly", "--data", str(data), *sys.argv[4:]]
    spanloop()


if __name__ == "__main__":
    main()
