"""What a gateway must not let happen, tried on a real one that asks for keys. docs/serving.md lists the same."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import ExitStatus
from serve.change.control import RefusedByGateway, ask_running
from serve.schema import read_registry
from tests.certificates import certificates
from tests.fakes import tiny_model
from tests.served import Served, serving
from tests.serving import Collector, collector, tiny_checkpoint, write_keys

pytestmark = pytest.mark.integration

PROMPT = "a-prompt-nobody-may-read"
UPSTREAM_KEY = "sk-upstream-canary"


@dataclass
class Guarded:
    """A gateway that encrypts, and the keys of one caller who may call it and of one who may not."""

    served: Served
    received: Collector
    caller: str
    stranger: str

    def post(self, path: str, body: Any, key: str | None, **headers: str) -> tuple[int, str]:
        """Return status and body."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            self.served.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, context=self.served.trusted) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask(self, key: str | None, **changes: Any) -> tuple[int, str]:
        """Ask for a short answer."""
        body = {"model": "base", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 2, **changes}
        return self.post("/v1/chat/completions", body, key)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("guarded")
    data = root / "data"
    data.mkdir()
    keys = write_keys(data, a1=["serve"], b2=["ingest", "query"])
    os.environ["SPANLOOP_SERVE_RUN_UPSTREAM_API_KEY"] = UPSTREAM_KEY
    try:
        cert, key = certificates(root)
        own = ["--model", str(tiny_model(root / "base")), "--engine", "embedded", "--name", "base"]
        tls = ["--tls-cert", str(cert), "--tls-key", str(key)]
        trusted = ssl.create_default_context(cafile=cert)
        with collector() as received, serving(data, *own, *tls, collector=received, trusted=trusted) as served:
            yield Guarded(served, received, keys["a1"], keys["b2"])
    finally:
        del os.environ["SPANLOOP_SERVE_RUN_UPSTREAM_API_KEY"]


def test_what_it_says_cannot_be_listened_to(guarded: Guarded) -> None:
    """Whoever speaks in the clear gets no answer; whoever trusts its certificate does."""
    assert guarded.served.url.startswith("https://127.0.0.1:")
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(guarded.served.url.replace("https", "http") + "/v1/models", timeout=5)
    assert guarded.ask(guarded.caller)[0] == 200


def test_only_a_key_for_serving_opens_it(guarded: Guarded) -> None:
    """No key, an unknown one, one for something else: turned away on every path that reaches the engine."""
    body = {"model": "base", "input": "a", "prompt": "a"}
    for path in ("chat/completions", "completions", "responses", "embeddings"):
        for key, status in ((None, 401), ("sl_a1_guess", 401), (guarded.stranger, 403)):
            assert guarded.post(f"/episode/e/v1/{path}", body, key)[0] == status
    assert guarded.ask(guarded.caller)[0] == 200


@pytest.mark.parametrize("name", ["../base", "/etc/passwd", "base/../../x", "base\0", "BASE:live", "b" * 5000])
def test_a_name_reaches_no_file_and_no_other_model(guarded: Guarded, name: str) -> None:
    """A model is asked for by exactly the names the gateway lists."""
    status, answer = guarded.ask(guarded.caller, model=name)

    assert status == 404
    assert len(answer) < 500


@pytest.mark.parametrize("path", ["/pause", "/collective_rpc", "/v1/load_lora_adapter", "/load", "/v1/../load"])
def test_the_powers_of_an_engine_are_out_of_reach(guarded: Guarded, path: str) -> None:
    """What changes weights or calls into workers knows no authentication; no path leads there."""
    assert guarded.post(path, {"path": "/tmp"}, guarded.caller)[0] == 404


def test_nothing_is_fetched_for_a_caller(guarded: Guarded) -> None:
    """A URL in a message is refused, wherever it points, before anybody looks it up."""
    for url in ("http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/", "file:///etc/passwd"):
        image = {"type": "image_url", "image_url": {"url": url}}
        status, answer = guarded.ask(guarded.caller, messages=[{"role": "user", "content": [image]}])

        assert status == 400
        assert url not in answer


def code_in_config(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_bytes())
    (checkpoint / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))


def pickle_beside(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def pickle_disguised(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(100))


def link_out(checkpoint: Path) -> None:
    (checkpoint / "notes.json").symlink_to("/etc/hostname")


@pytest.mark.parametrize("spoil", [code_in_config, pickle_beside, pickle_disguised, link_out])
def test_no_checkpoint_brings_code_or_leads_elsewhere(
    guarded: Guarded, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Refused with the status of a gate; what is live stays live and answers."""
    before = read_registry(guarded.served.data)
    checkpoint = tiny_checkpoint(tmp_path / "night", seed=1)
    spoil(checkpoint)

    with pytest.raises(RefusedByGateway) as refused:
        ask_running(guarded.served.data, "promote", {"checkpoint": str(checkpoint), "force": True})

    assert refused.value.exit_status is ExitStatus.REFUSED
    assert read_registry(guarded.served.data) == before
    assert guarded.ask(guarded.caller)[0] == 200


def test_secrets_and_prompts_are_in_no_file(guarded: Guarded) -> None:
    """Neither keys nor what was asked is in any file of the data directory or in the gateway's log, errors included."""
    guarded.ask(guarded.caller)
    guarded.ask(guarded.caller, temperature=f"{PROMPT}")
    guarded.ask(guarded.caller, messages=[{"role": PROMPT * 2, "content": {"type": PROMPT}}])
    guarded.ask(f"{guarded.caller}-{PROMPT}")

    files = [guarded.served.log, *(path for path in guarded.served.data.rglob("*") if path.is_file())]
    assert len(files) > 3
    for path in files:
        content = path.read_bytes()
        for secret in (PROMPT, guarded.caller, guarded.stranger, UPSTREAM_KEY):
            assert secret.encode() not in content, path
    assert any(PROMPT in str(span.attributes) for span in guarded.received.spans)  # spans are the one place
    assert all(guarded.caller not in str(span.attributes) for span in guarded.received.spans)


def test_a_key_for_upstreams_is_not_shown(tmp_path: Path) -> None:
    """Nor when a setting beside it is wrong."""
    command = [sys.executable, "-m", "spanloop", "serve", "run", "--data", str(tmp_path), "--listen", "nowhere"]
    environment = {**os.environ, "SPANLOOP_SERVE_RUN_UPSTREAM_API_KEY": UPSTREAM_KEY}

    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    assert refused.returncode == ExitStatus.SETTINGS
    assert UPSTREAM_KEY not in refused.stdout + refused.stderr
