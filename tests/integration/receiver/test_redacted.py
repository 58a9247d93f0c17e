"""Ten thousand secrets are sent to a receiver that redacts, and none of them is anywhere afterwards."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from etl.runs.run import run_etl
from etl.schema import TABLES, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from otel_exporter.redaction import PLACEHOLDER
from receiver.schema import connect
from tests.export_requests import attribute, logs, span, traces
from tests.integration.receiver.processes import LOGS, running
from tests.pages import running_page

pytestmark = [pytest.mark.integration, pytest.mark.long]

NUM_SECRETS = 10_000
NUM_A_CALL = 20
LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def secrets() -> Iterator[tuple[str, str]]:
    """Yield secrets nobody has twice, of five kinds in turn, and the words they stand in."""
    draw = random.Random(20261130)
    for number in range(NUM_SECRETS):
        word = "".join(draw.choices(LETTERS, k=20)) + f"{number:05d}"
        match number % 5:
            case 0:
                yield f"{word}@example.com", "Write to {}, please."
            case 1:
                yield f"sk-{word}", "It is {} since Monday."
            case 2:
                yield _card(number), "Charge {} again."
            case 3:
                yield word, "password={} did not work."
            case _:
                yield f"+41 44 {700 + number // 10_000} {number // 100 % 100:02d} {number % 100:02d}", "Call {} back."


def _card(number: int) -> str:
    digits = f"4{number:014d}"
    doubled = [int(digit) * (2 - at % 2) for at, digit in enumerate(reversed(digits))]
    return digits + str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


def call(number: int, said: list[str]) -> Any:
    """Return the span of a call in which all of it is said, in a message, a tool's call and result, events and JSON."""
    first, second, third, rest = said[:5], said[5:10], said[10:15], said[15:]
    arguments = {"note": " ".join(second), "again": first[0]}
    asked = [
        {"role": "user", "parts": [{"type": "text", "content": " ".join(first)}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "k", "name": "look_up", "arguments": arguments}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "k", "response": json.dumps({"row": third})}]},
    ]
    answered = [{"role": "assistant", "parts": [{"type": "text", "content": " ".join(rest)}], "finish_reason": "stop"}]
    made = span(number, name="chat", trace_id=number.to_bytes(16, "big"))
    made.attributes.extend(
        attribute(name, value)
        for name, value in {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.input.messages": json.dumps(asked),
            "gen_ai.output.messages": json.dumps(answered),
            "note": second[0],
        }.items()
    )
    made.events.add(name="noted").attributes.append(attribute("text", third[0]))
    made.status.message = rest[0]
    return made


def test_of_ten_thousand_secrets_none_is_anywhere(tmp_path: Path) -> None:
    """Not in DuckDB, the log, Parquet, metrics, errors or the page; who is named twice in an episode has one name."""
    planted = list(secrets())
    said = [words.format(secret) for secret, words in planted]
    spans = [call(at + 1, said[at : at + NUM_A_CALL]) for at in range(0, NUM_SECRETS, NUM_A_CALL)]
    data = tmp_path / "data"
    seen: dict[str, str] = {}
    with running(data, "--redact", "all") as receiver:
        for at in range(0, len(spans), 50):
            receiver.export(traces(*spans[at : at + 50]).SerializeToString(), timeout_s=120)
        receiver.export(logs(*said).SerializeToString(), LOGS, timeout_s=120)
        damaged = traces(*spans).SerializeToString()[:-3]
        seen["error"] = str(receiver.post("/v1/traces", damaged, Content_Type="application/x-protobuf"))
        seen["metrics"] = receiver.get("/metrics")[2].decode()
        for name in ("spans", "log_records"):
            seen[f"DuckDB's {name}"] = json.dumps(receiver.sql(f"select * from {name}"), ensure_ascii=False)
    run_etl(EtlConfig(data=data, complete_after=0), RunReport("etl run", {}), dry_run=False)
    with closing(connect(data)) as reader:
        for name in (name for name in TABLES if table_files(data, name)):
            seen[f"Parquet's {name}"] = str(reader.query(f"select * from {name}").to_pylist())
        inputs = reader.query("select input, trace_id from llm_calls").to_pylist()
    with running_page(data) as visitor:
        for path in ("/", "/traces", "/traces?limit=200", f"/traces/{inputs[0]['trace_id']}"):
            seen[f"page {path}"] = visitor.get(path).text
    seen["narration"] = receiver.log.read_text()
    for file in data.rglob("*"):
        if file.is_file():
            seen[str(file)] = file.read_bytes().decode("latin-1")

    everywhere = "\n".join(seen.values())
    found = [secret for secret, _ in planted if secret in everywhere]
    assert found == [], {secret: [name for name, text in seen.items() if secret in text] for secret in found[:3]}
    assert len(inputs) == len(spans)
    assert len(PLACEHOLDER.findall(seen["Parquet's transitions"])) >= NUM_SECRETS
    for row in inputs:
        first, tool = json.loads(row["input"])[:2]
        named = PLACEHOLDER.findall(first["text"])[0]
        assert named in tool["tool_calls"][0]["arguments"]["again"]
