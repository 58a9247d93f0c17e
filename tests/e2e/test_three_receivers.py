"""A night over three receivers, and what looks at them beside it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etl.schema import read_watermark, table_files
from foundation.web import places
from serve.schema import read_registry
from tests.commands import spanloop
from tests.integration.receiver.processes import Receiver, running
from tests.served import serving

pytestmark = [pytest.mark.e2e, pytest.mark.long]

EXAMPLE = Path("examples/calculator").absolute()


@pytest.fixture
def receivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Receiver]]:
    with ExitStack() as stack:
        found = [stack.enter_context(running(tmp_path / f"receiver-{number}")) for number in range(3)]
        monkeypatch.setenv(places.RECEIVER, " ".join(one.http for one in found))
        yield found


def collect(url: str, receiver: Receiver, seed: int) -> None:
    """Have agents attempt problems; their spans go to one receiver."""
    variables = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none"}
    subprocess.run(
        [sys.executable, EXAMPLE / "collect.py", "--episodes", "8", "--attempts", "8", "--seed", str(seed)],
        env={**os.environ, **variables, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.grpc}"},
        check=True,
        capture_output=True,
    )


@pytest.mark.timeout(900)
def test_a_night_learns_from_three_receivers(
    receivers: list[Receiver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents send to each, the gateway to the first: most traces are in two. A reward counts wherever it was given."""
    data = tmp_path / "loop"
    shutil.copytree(EXAMPLE / "policy", data / "checkpoints" / "calculator")
    shutil.copy(EXAMPLE / "spanloop.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    served = ("--model", str(data / "checkpoints" / "calculator"), "--name", "calculator", "--engine", "embedded")
    gateway_sends_to: Any = SimpleNamespace(endpoint=f"http://{receivers[0].grpc}")
    with serving(data, *served, collector=gateway_sends_to) as gateway:
        for seed, receiver in enumerate(receivers):
            collect(gateway.url, receiver, seed)
        last = spanloop("sql", "select trace_id from spans where name = 'attempt' limit 1", "--format", "json")
        trace = json.loads(last.stdout)[0]["trace_id"]
        assert spanloop("reward", trace, "0.5", "--name", "style").returncode == 0

        night = spanloop("nightly", "--data", data, "--json")

        assert night.returncode == 0, night.stderr[-3000:]
        assert read_registry(data).live == Path(json.loads(night.stdout)["checkpoint"]).name
        looked = spanloop("doctor", "--data", data, "--follow", "--json")

    watermark = read_watermark(data)
    assert watermark is not None
    assert [*watermark["receivers"]] == [one.http for one in receivers]
    assert table_files(data, "transitions")
    found = json.loads(looked.stdout)["findings"]
    verdicts = [one["verdict"] for one in found if one["check"] in {"receiver", "one span", "arrival"}]
    assert verdicts == ["ok"] * 9, found
