"""A night on a machine that shares nothing with the agents' but URLs and a key, while agents go on asking."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.certificates import certificates
from tests.machines import two_machines, why_not

pytestmark = [pytest.mark.e2e, pytest.mark.long]

EXAMPLE = Path("examples/calculator").absolute()
SPANLOOP = [sys.executable, "-m", "spanloop"]


@pytest.mark.timeout(900)
def test_a_night_by_url_changes_the_model_under_load(tmp_path: Path) -> None:
    """ETL, training and promotion from a second machine; no call fails, and no file is seen by both."""
    if reason := why_not():
        pytest.skip(reason)
    homes = [tmp_path / name for name in ("agents", "night")]
    for home in homes:
        home.mkdir()
    with two_machines(homes) as (agents, night):
        certificate, certificate_key = certificates(agents.home, agents.address)
        keys = ("receiver", "keys", "create", "--data", "data", "--name", "loop")
        scopes = [part for scope in ("ingest", "query", "reward", "serve", "admin") for part in ("--scope", scope)]
        key = agents.run(*SPANLOOP, *keys, *scopes).stdout.strip()
        base_url = f"https://{agents.address}:8000/v1"
        environment = {
            "SSL_CERT_FILE": str(certificate),
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{agents.address}:4317",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {key}",
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": key,
        }
        tls = ("--tls-cert", certificate, "--tls-key", certificate_key)
        listening = ("--grpc", f"{agents.address}:4317", "--http", f"{agents.address}:4318")
        receiver = agents.start(*SPANLOOP, "receiver", "run", "--data", "data", *listening, *tls, output="receiver.log")
        model = agents.home / "data" / "checkpoints" / "calculator"
        shutil.copytree(EXAMPLE / "policy", model)
        served = (
            "--model",
            model,
            "--name",
            "calculator",
            "--engine",
            "embedded",
            "--listen",
            f"{agents.address}:8000",
        )
        gateway = agents.start(
            *(*SPANLOOP, "serve", "run", "--data", "data", *served, *tls),
            *("--control-listen", f"{agents.address}:8001"),
            environment=environment,
            output="gateway.log",
        )
        for url, process in ((f"https://{agents.address}:4318/readyz", receiver), (f"{base_url[:-3]}/readyz", gateway)):
            agents.wait_for(url, process, environment=environment)

        work = ("--episodes", 48, "--attempts", 8)
        collected = agents.run(sys.executable, EXAMPLE / "collect.py", *work, environment=environment)
        assert collected.returncode == 0, collected.stderr[-2000:]
        asking = agents.start(
            *(sys.executable, Path(__file__).with_name("asking.py"), base_url, agents.home / "stop"),
            environment=environment,
            output="asking.json",
        )
        shutil.copy(certificate, night.home / "cert.pem")
        (night.home / "key").write_text(key)
        shutil.copy(EXAMPLE / "spanloop.toml", night.home)
        shutil.copytree(EXAMPLE / "policy", night.home / "loop" / "checkpoints" / "calculator")
        made = night.run(
            *(*SPANLOOP, "nightly", "--data", "loop", "--json"),
            environment={
                "SSL_CERT_FILE": str(night.home / "cert.pem"),
                "SPANLOOP_RECEIVER": f"https://{agents.address}:4318",
                "SPANLOOP_CONTROL": f"https://{agents.address}:8001",
                "SPANLOOP_KEY_FILE": str(night.home / "key"),
            },
        )
        assert made.returncode == 0, made.stderr[-4000:]
        (agents.home / "stop").touch()
        asking.wait(timeout=60)
        asked = json.loads((agents.home / "asking.json").read_text().splitlines()[-1])

    checkpoint = Path(json.loads(made.stdout)["checkpoint"]).name
    assert asked["failures"] == []
    assert asked["calls"] > len(asked["versions"]) == 2
    assert (agents.home / "data" / "checkpoints" / checkpoint / "manifest.json").is_file()
    assert not (agents.home / "data" / "dataset").exists()
    assert not (night.home / "loop" / "spans").exists()
