"""Agents at work with OpenAI's client under one instrumentation; run by `benchmarks.train.teachers` in its environment.

    python teacher_agent.py openinference http://127.0.0.1:1234/v1 http://127.0.0.1:4318 < work.json

It knows nothing of Spanloop but the names of the attributes a user would write: the task, its side of the hold-out, and
what it earned.
"""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import OpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

WORKERS = 8


def instrument(name: str) -> None:
    """Have one library write a span for each call of the client."""
    if name == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor
    elif name == "genai":
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    else:
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor
    OpenAIInstrumentor().instrument()


def calculate(expression: str) -> str:
    """Return what the tool says of a sum, a difference or a product."""
    found = re.fullmatch(r"(\d+)([-+*])(\d+)", expression)
    if found is None:
        return "error"
    one, sign, other = int(found[1]), found[2], int(found[3])
    return str(one + other if sign == "+" else one - other if sign == "-" else one * other)


def attempt(client: OpenAI, tracer: trace.Tracer, job: dict[str, Any], work: dict[str, Any]) -> float:
    """Work on one problem and return what it earned."""
    messages = [{"role": "system", "content": work["system"]}, {"role": "user", "content": job["text"]}]
    told = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "solver"}
    told |= {"spanloop.task.id": job["task_id"], "spanloop.split": job["split"]}
    with tracer.start_as_current_span("invoke_agent solver", attributes=told) as span:
        for _ in range(work["turns"]):
            answer = client.chat.completions.create(model=work["model"], messages=messages, tools=work["tools"])
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                said = calculate(json.loads(call.function.arguments)["expression"])
                messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
        outcome = float(re.findall(r"-?\d+", str(messages[-1].get("content"))) == [str(job["answer"])])
        judgement = {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.value": outcome}
        span.add_event("gen_ai.evaluation.result", judgement)
    return outcome


def main() -> None:
    """Read the work, do it, and write what each problem earned."""
    name, url, receiver = sys.argv[1:]
    work = json.load(sys.stdin)
    provider = TracerProvider(resource=Resource.create({"service.name": f"calculator-{name}"}))
    exporter = OTLPSpanExporter(f"{receiver}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
    trace.set_tracer_provider(provider)
    instrument(name)
    client, tracer = OpenAI(base_url=url, api_key="none"), trace.get_tracer("calculator")
    with ThreadPoolExecutor(WORKERS) as pool:
        rewards = list(pool.map(lambda job: attempt(client, tracer, job, work), work["jobs"]))
    provider.shutdown()
    json.dump(rewards, sys.stdout)


if __name__ == "__main__":
    main()
