"""Measures the ETL: a store of many spans end to end, or one trace beside agentlightning's TracerTraceToTriplet.

    python -m benchmarks.etl scale --spans 1000000
    python -m venv /tmp/peer && /tmp/peer/bin/pip install agentlightning==0.3.0
    python -m benchmarks.etl paired --peer /tmp/peer/bin/python

`scale` fills a store with an LLM mix (15 spans a trace: four model calls with a growing conversation, three tools, the
agent, and the spans of HTTP and application around them) and runs `spanloop etl run` on it, with as many processes as
`--workers` says; memory is that of all of them together, sampled ten times a second.
`paired` hands both a batch of the same spans in memory, AgentOps' kind with token ids, which is what the peer reads:
nested traces of 35 spans and flat ones of 514. CPU seconds of one process, the median of five rounds taken in turns.
Ours begin as the store's columns, attributes as JSON text. The peer's time is given twice: `adapt` alone, on span
objects that are there already, and with the reading of these objects from JSON text.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

START_NS = 1_760_000_000_000_000_000
SECOND_NS = 1_000_000_000
TRACES_A_REQUEST = 20
CALLS = 4
ROUNDS = 5
PEER = """
import json, sys, time
from agentlightning.adapter.triplet import TracerTraceToTriplet
from agentlightning.types import Span
spans = [Span.from_attributes(**row) for row in json.load(open(sys.argv[1]))]
texts = [span.model_dump_json() for span in spans]
adapter = TracerTraceToTriplet()
found = len(adapter.adapt(spans))
print(json.dumps(found), flush=True)
for line in sys.stdin:
    began = time.process_time()
    for _ in range(int(line)):
        adapter.adapt(spans)
    adapted = time.process_time()
    for _ in range(int(line)):
        [Span.model_validate_json(text) for text in texts]
    print(json.dumps([adapted - began, time.process_time() - adapted]), flush=True)
"""


def attributes(values: dict[str, str | int]) -> list[KeyValue]:
    """Return attributes as OTLP."""
    return [
        KeyValue(key=key, value=AnyValue(int_value=v) if isinstance(v, int) else AnyValue(string_value=v))
        for key, v in values.items()
    ]


def trace(number: int, text_bytes: int = 0) -> Iterator[dict[str, Any]]:
    """Return one trace of the mix: what each span is called, lies under, says and was made by.

    `text_bytes`: so long is what the agent is shown beside, or an attribute of the spans around it.
    """
    text = (f"Page {number} of the manual. " * (text_bytes // 20))[:text_bytes]
    for span in mix(number, text):
        if text and "gen_ai.input.messages" not in span["fields"]:
            span["fields"] = {**span["fields"], "app.note": text}
        yield span


def mix(number: int, manual: str) -> Iterator[dict[str, Any]]:
    """Return the spans of a trace, whose agent is shown a text."""
    conversation = [
        {"role": "system", "parts": [{"type": "text", "content": "You work in a warehouse. " * 12 + manual}]},
        {"role": "user", "parts": [{"type": "text", "content": f"Order {number}: what is missing? " * 6}]},
    ]
    yield {"name": "POST /ask", "parent": None, "scope": "http", "fields": {"http.request.method": "POST"}}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
    yield {"name": "invoke_agent clerk", "parent": 0, "scope": "agent", "fields": agent}
    position = 2
    for step in range(CALLS):
        identifier = f"call_{number}_{step}"
        request = {"type": "tool_call", "id": identifier, "name": "stock", "arguments": {"item": number + step}}
        text = {"type": "text", "content": f"Nothing is missing from order {number}. " * 5}
        part = text if step == CALLS - 1 else request
        answer = {"role": "assistant", "parts": [part], "finish_reason": "stop"}
        call: dict[str, str | int] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.id": f"chatcmpl-{number}-{step}",
            "gen_ai.usage.input_tokens": 300 + step,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.input.messages": json.dumps(conversation),
            "gen_ai.output.messages": json.dumps([answer]),
        }
        scope = "opentelemetry.instrumentation.genai.openai"
        yield {"name": "chat gpt-4o-mini", "parent": 1, "scope": scope, "fields": call}
        yield {"name": "POST", "parent": position, "scope": "httpx", "fields": {"http.request.method": "POST"}}
        position += 2
        if step < CALLS - 1:
            tool = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "stock",
                "gen_ai.tool.call.id": identifier,
            }
            yield {"name": "execute_tool stock", "parent": 1, "scope": "agent", "fields": tool}
            position += 1
            result = {"type": "tool_call_response", "id": identifier, "response": f"{number} pieces on shelf {step}"}
            conversation.append({"role": "assistant", "parts": [request]})
            conversation.append({"role": "tool", "parts": [result]})
    evaluation = {"name": "verdict", "parent": 0, "scope": "http", "fields": {"order": number}}
    yield {**evaluation, "reward": number % 2}
    yield {"name": "db", "parent": 0, "scope": "sql", "fields": {"db.system": "sqlite"}}


def request(numbers: range, text_bytes: int = 0) -> tuple[bytes, int]:
    """Return one export request of whole traces, and how many spans it holds."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": "bench"}))
    scopes: dict[str, Any] = {}
    count = 0
    for number in numbers:
        began = START_NS + number * SECOND_NS
        for position, span in enumerate(trace(number, text_bytes)):
            if span["scope"] not in scopes:
                scopes[span["scope"]] = resource_spans.scope_spans.add()
                scopes[span["scope"]].scope.name = span["scope"]
            is_outer = span["parent"] is None or position == 1
            added = scopes[span["scope"]].spans.add(
                trace_id=(number + 1).to_bytes(16, "big"),
                span_id=(number * 64 + position + 1).to_bytes(8, "big"),
                name=span["name"],
                start_time_unix_nano=began + position * 1000,
                end_time_unix_nano=began + (1_000_000 if is_outer else position * 1000 + 900),
                attributes=attributes(span["fields"]),
            )
            if span["parent"] is not None:
                added.parent_span_id = (number * 64 + span["parent"] + 1).to_bytes(8, "big")
            if "reward" in span:
                event = added.events.add(name="gen_ai.evaluation.result", time_unix_nano=began + 999_000)
                event.attributes.append(KeyValue(key="gen_ai.evaluation.name", value=AnyValue(string_value="outcome")))
                score = AnyValue(double_value=float(span["reward"]))
                event.attributes.append(KeyValue(key="gen_ai.evaluation.score.value", value=score))
            count += 1
    return message.SerializeToString(), count


def fill(data: Path, num_spans: int, text_bytes: int = 0) -> int:
    """Fill a store with at least so many spans; return how many there are."""
    from receiver.decode.otlp import Signal
    from receiver.decode.refusals import Overloaded
    from receiver.intake.entry import Intake
    from receiver.pipeline import Pipeline

    total = 0
    with closing(Pipeline(data, purpose="benchmark")) as pipeline:
        intake = Intake(pipeline)
        number = 0
        while total < num_spans:
            num_traces = 2 if text_bytes else TRACES_A_REQUEST
            body, count = request(range(number, number + num_traces), text_bytes)
            while True:
                try:
                    intake.take(Signal.TRACES, body)
                    break
                except Overloaded:  # as a sender would
                    time.sleep(0.1)
            number += num_traces
            total += count
    return total


def tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and of all below it."""
    try:
        children = [
            int(child)
            for path in Path(f"/proc/{pid}/task").iterdir()
            for child in (path / "children").read_text().split()
        ]
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return own + sum(tree_bytes(child) for child in children)


def scale(num_spans: int, directory: Path | None, workers: int, text_bytes: int = 0) -> dict[str, Any]:
    """Run the ETL on a store of so many spans."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        data = Path(name) / "data"
        size_of = ["--spans", str(num_spans), "--text-bytes", str(text_bytes)]
        subprocess.run([sys.executable, "-m", "benchmarks.etl", "fill", *size_of, "--data", str(data)], check=True)
        command = [sys.executable, "-m", "spanloop", "etl", "run", "--data", str(data), "--complete-after", "0"]
        output, peak = Path(name) / "report.json", 0
        began = time.monotonic()
        with output.open("wb") as file:
            process = subprocess.Popen([*command, "--workers", str(workers), "--json"], stdout=file)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(0.1)
        wall = time.monotonic() - began
        assert status == 0
        report = json.loads(output.read_text())
        size = sum(path.stat().st_size for path in (data / "dataset").rglob("*.parquet"))
    return {
        "spans": report["spans"]["in"],
        "transitions": report["num_rows"]["transitions"],
        "buckets": report["phases"][0]["buckets"],
        "workers": workers,
        "wall_s": round(wall, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mib": peak // 2**20,
        "parquet_mib": size // 2**20,
    }


def peer_spans(num_calls: int, *, nested: bool) -> list[dict[str, Any]]:
    """Return one trace for the peer: calls under a root, each with a child of its own where nested."""
    common = {"trace_id": "1" * 32, "rollout_id": "r", "attempt_id": "a"}
    rows: list[dict[str, Any]] = [
        {**common, "span_id": f"{1:016x}", "parent_id": None, "name": "run", "attributes": {"app": "bench"}}
    ]
    rows[0] |= {"start_time": 0.0, "end_time": 1e6}
    for number in range(num_calls):
        began = 1.0 + number * 10
        fields: dict[str, Any] = {
            "gen_ai.request.model": "m",
            "gen_ai.response.id": f"chatcmpl-{number}",
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": f"question {number}",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": f"answer {number}",
            "gen_ai.completion.0.finish_reason": "stop",
            "prompt_token_ids": list(range(16)),
            "response_token_ids": list(range(8)),
        }
        outer = f"{number * 2 + 2:016x}"
        inner = f"{number * 2 + 3:016x}"
        times = {"start_time": began, "end_time": began + 5}
        call = {**common, "name": "openai.chat.completion", "attributes": fields, **times}
        if nested:
            step = {**common, "span_id": outer, "parent_id": f"{1:016x}", "name": f"step {number}", "attributes": {}}
            rows.append({**step, "start_time": began - 0.5, "end_time": began + 5.5})
        rows.append({**call, "span_id": inner, "parent_id": outer if nested else f"{1:016x}"})
    for index, row in enumerate(rows):
        row["sequence_id"] = index
    return rows


def paired(peer: str) -> list[dict[str, Any]]:
    """Measure both, in turns, on the same spans."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # what each process of a run has where they share the cores
    from etl.runs.work import no_cycle_collection
    from etl.settings import EtlConfig
    from etl.transform import transform
    from tests.spans import START_NS as BASE
    from tests.spans import logs_frame, spans_frame

    def ours(rows: list[dict[str, Any]], copies: int) -> Any:  # noqa: ANN401 - a frame
        spans = []
        for copy in range(copies):
            for row in rows:
                start, end = (BASE + int(row[name] * SECOND_NS) for name in ("start_time", "end_time"))
                spans.append(
                    {
                        "project": "default",
                        "trace_id": f"{copy:032x}",
                        "span_id": row["span_id"],
                        "parent_span_id": row["parent_id"],
                        "name": row["name"],
                        "start_ns": start,
                        "end_ns": end,
                        "status_code": "unset",
                        "service_name": "bench",
                        "resource": "{}",
                        "scope_name": "openai" if "gen_ai.request.model" in row["attributes"] else "app",
                        "attributes": json.dumps(row["attributes"]).replace("chatcmpl-", f"chatcmpl-{copy}-"),
                        "events": "[]",
                        "dropped_attributes_count": 0,
                        "received_time": BASE // 1000,
                        "received_seq": 1,
                    }
                )
        return spans_frame(spans)

    results = []
    for shape, rows, copies in (
        ("nested, 35 spans", peer_spans(17, nested=True), 300),
        ("flat, 514 spans", peer_spans(513, nested=False), 20),
    ):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(rows, file)
            file.flush()
            process = subprocess.Popen(
                [peer, "-c", PEER, file.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            )
            assert process.stdin is not None
            assert process.stdout is not None
            triplets = json.loads(process.stdout.readline())
            frame, config = ours(rows, copies), EtlConfig(complete_after=0)
            mine: list[float] = []
            theirs: list[float] = []
            with_parsing: list[float] = []
            for _ in range(ROUNDS):
                began = time.process_time()
                with no_cycle_collection():  # as a run does
                    dataset = transform(frame, logs_frame(), config)
                mine.append((time.process_time() - began) / copies)
                process.stdin.write(f"{copies}\n")
                process.stdin.flush()
                adapting, parsing = json.loads(process.stdout.readline())
                theirs.append(adapting / copies)
                with_parsing.append((adapting + parsing) / copies)
            process.stdin.close()
            process.wait()
        ours_median = statistics.median(mine)
        results.append(
            {
                "trace": shape,
                "spans": len(rows),
                "traces": copies,
                "peer_triplets": triplets,
                "our_transitions": dataset.tables["transitions"].height // copies,
                "peer_adapt_ms": round(statistics.median(theirs) * 1000, 3),
                "peer_from_json_ms": round(statistics.median(with_parsing) * 1000, 3),
                "our_ms": round(ours_median * 1000, 3),
                "ratio_adapt": round(statistics.median(theirs) / ours_median, 2),
                "ratio_from_json": round(statistics.median(with_parsing) / ours_median, 2),
            }
        )
    return results


def main() -> None:
    """Run what was asked for and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("scale", "fill"):
        command = commands.add_parser(name)
        command.add_argument("--spans", type=int, default=100_000)
        command.add_argument("--text-bytes", type=int, default=0, help="more text in every span")
        command.add_argument("--data", type=Path, help="fill: the store; scale: where to make it")
    commands.choices["scale"].add_argument("--workers", type=int, default=2)
    commands.add_parser("paired").add_argument("--peer", required=True, help="Python that has agentlightning==0.3.0")
    arguments = parser.parse_args()
    if arguments.command == "fill":
        print(f"{fill(arguments.data, arguments.spans, arguments.text_bytes)} spans", file=sys.stderr)
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"peak {rss} MiB", file=sys.stderr)
        return
    found = (
        scale(arguments.spans, arguments.data, arguments.workers, arguments.text_bytes)
        if arguments.command == "scale"
        else paired(arguments.peer)
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
