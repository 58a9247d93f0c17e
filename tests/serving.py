"""What the tests of serving share: tiny checkpoints, an OTLP receiver that remembers, an engine of cardboard."""

import asyncio
import contextlib
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from foundation.files import write_json
from tests.fakes import tiny_model
from train.schema import Base, Manifest, Probe, model_version, tokenizer_digests, weights_digest

PROMPTS = ([264, 10, 20, 30, 260], [40, 50, 60, 70, 80, 90], [5, 6, 7])


def fresh_logprobs(model: Path, prompt: list[int], response: list[int]) -> list[float]:
    """Recompute log-probabilities with plain Transformers in float32, by the shortest way there is."""
    import torch
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        logprobs = net(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
    return [logprobs[len(prompt) - 1 + place, token].item() for place, token in enumerate(response)]


def with_manifest(model: Path, *, gate: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Make a model directory a checkpoint: a manifest, and probes that are true of its weights."""
    digest = weights_digest(model)
    tokenizer, template = tokenizer_digests(model)
    manifest = Manifest(
        checkpoint_id=f"{model.name}-{digest[:8]}",
        parent=None,
        weights_digest=digest,
        tokenizer_digest=tokenizer or "",
        chat_template_digest=template,
        created_time="2026-01-01T00:00:00+00:00",
        code_version="0",
        window={},
        settings={},
        metrics={},
        probes=[] if "probes" in changes else with_probes(model),
        gate=None if gate is None else {"weights_digest": digest, **gate},
    )
    write_json(model / "manifest.json", manifest.model_copy(update=changes).model_dump(mode="json"))
    return model


def tiny_checkpoint(path: Path, *, seed: int, **manifest: Any) -> Path:
    """Write a checkpoint of the tiny model."""
    return with_manifest(tiny_model(path, seed=seed), **manifest)


def altered_checkpoint(model: Path, path: Path, *, seed: int, scale: float = 0.5) -> Path:
    """Write a checkpoint of the same shape as a model, every weight moved by `scale` (half) of its layer's spread."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, path)
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(path / "model.safetensors")
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=generator) * tensor.float().std(correction=0) * scale
        tensors[name] = (tensor.float() + noise).to(tensor.dtype)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return with_manifest(path)


def adapter_checkpoint(base: Path, path: Path, *, seed: int, rank: int = 8, scale: float = 0.3) -> Path:
    """Write an adapter checkpoint over a model directory: all linear layers, both factors random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, task_type="CAUSAL_LM"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale / weight.shape[1] ** 0.5)
    adapted.peft_config["default"].base_model_name_or_path = str(base.resolve())
    adapted.save_pretrained(path)
    merged = path.with_name(f"{path.name}-merged")
    adapted.merge_and_unload().save_pretrained(merged)
    base_digest = weights_digest(base)
    origin = Base(path=str(base.resolve()), version=model_version(base), weights_digest=base_digest)
    probes = with_probes(merged)
    return with_manifest(path, kind="adapter", base=origin, probes=probes)


def with_probes(model: Path) -> list[Probe]:
    """Return probes that are true of a model's weights."""
    response = list(range(100, 116))
    return [
        Probe(prompt_token_ids=prompt, response_token_ids=response, logprobs=fresh_logprobs(model, prompt, response))
        for prompt in PROMPTS
    ]


def write_keys(data: Path, **scopes: list[str]) -> dict[str, str]:
    """Write keys as `spanloop receiver keys` does; return their texts by id."""
    texts = {id_: f"sl_{id_}_secret-of_{id_}" for id_ in scopes}
    keys = [
        {
            "id": id_,
            "name": "n",
            "project": "p",
            "scopes": granted,
            "sha256": hashlib.sha256(texts[id_].encode()).hexdigest(),
            "created_time": "2026-01-01T00:00:00+00:00",
        }
        for id_, granted in scopes.items()
    ]
    partial = data / "keys.partial"
    partial.write_text(json.dumps({"keys": keys}))
    partial.replace(data / "keys.json")
    return texts


def value_of(any_value: Any) -> Any:
    """Return an OTLP AnyValue as a Python value."""
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in any_value.array_value.values]
    return getattr(any_value, kind)


@dataclass
class ReceivedSpan:
    """A span as it came over the wire."""

    scope: str
    name: str
    trace_id: str
    parent_span_id: str
    status_code: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """An OTLP/gRPC receiver that only remembers."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    port: int = 0
    _server: Any = None

    @property
    def endpoint(self) -> str:
        """Where it listens, or did."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""

        def export(request: ExportTraceServiceRequest, _: grpc.ServicerContext) -> ExportTraceServiceResponse:
            self.take(request)
            return ExportTraceServiceResponse()

        handler = grpc.method_handlers_generic_handler(
            "opentelemetry.proto.collector.trace.v1.TraceService",
            {
                "Export": grpc.unary_unary_rpc_method_handler(
                    export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
                )
            },
        )
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Close every connection."""
        self._server.stop(0).wait()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource_spans in request.resource_spans:
            resource = {item.key: value_of(item.value) for item in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    self.spans.append(
                        ReceivedSpan(
                            scope=scope_spans.scope.name,
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            parent_span_id=span.parent_span_id.hex(),
                            status_code=span.status.code,
                            attributes={item.key: value_of(item.value) for item in span.attributes},
                            resource=resource,
                        )
                    )

    def by_response_id(self) -> dict[str, ReceivedSpan]:
        """Return the spans of calls that were answered."""
        found = ((span.attributes.get("gen_ai.response.id"), span) for span in self.spans)
        return {response_id: span for response_id, span in found if response_id is not None}


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port."""
    received = Collector()
    received.start()
    try:
        yield received
    finally:
        received.stop()


class CardboardEngine:
    """Says what it is told to say, over real HTTP, and remembers what it was asked. No model, no process."""

    kind = "cardboard"
    provider = "cardboard"
    name = "base"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {}
        self.events: list[bytes] = []
        self.status = 200
        self.hold = asyncio.Event()
        """While clear, a stream stops after its first event."""

        self.hold.set()
        self.num_cancelled = 0
        self.breaks_off = False
        self.runs = True
        self.num_to_lose = 0
        """Calls whose connection is closed before anything of an answer is sent."""

        self.url = ""
        self.session: aiohttp.ClientSession

    @contextlib.contextmanager
    def place(self, _: Any) -> Iterator[str]:
        """Take every call."""
        yield self.url

    def is_running(self) -> bool:
        """Tell whether it pretends to be there."""
        return self.runs

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        request = await http.json()
        self.asked.append(request)
        if self.num_to_lose > 0:
            self.num_to_lose -= 1
            assert http.transport is not None
            http.transport.abort()
        try:
            if not request.get("stream"):
                await self.hold.wait()
                return web.json_response(self.answer, status=self.status)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(http)
            for event in self.events:
                await response.write(event)
                await self.hold.wait()
            if self.breaks_off:
                assert http.transport is not None
                http.transport.abort()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        return response

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["CardboardEngine"]:
        app = web.Application()
        paths = ("chat/completions", "completions", "embeddings", "responses")
        app.add_routes([web.post(f"/v1/{path}", self._complete) for path in paths])
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as self.session:
            yield self
        await runner.cleanup()
