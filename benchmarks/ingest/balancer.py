"""A balancer of OTLP/gRPC by trace id, as a process: a small stand-in for a Collector's `loadbalancing` exporter.

    python -m benchmarks.ingest.balancer 127.0.0.1:4317 RECEIVER…

A request is acknowledged once every receiver has acknowledged its part of it; else it is refused as UNAVAILABLE, and
who sent it sends all of it again. It keeps nothing: whatever it had under way when it is killed was not acknowledged.
"""

import sys
import zlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.ingest.load import EXPORT

LARGE = [("grpc.max_send_message_length", 1 << 28), ("grpc.max_receive_message_length", 1 << 28)]
AGAIN = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 500}
"""A receiver that was replaced is found again soon."""


def deal(body: bytes, among: int) -> dict[int, bytes]:
    """Return the part of a request that each of so many receivers takes: whole traces, by their id."""
    if among == 1:
        return {0: body}
    parts: dict[int, ExportTraceServiceRequest] = defaultdict(ExportTraceServiceRequest)
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            found = defaultdict(list)
            for span in scope_spans.spans:
                found[zlib.crc32(span.trace_id) % among].append(span)
            for number, spans in found.items():
                own = parts[number].resource_spans.add(schema_url=resource_spans.schema_url)
                own.resource.CopyFrom(resource_spans.resource)
                scope = own.scope_spans.add(schema_url=scope_spans.schema_url)
                scope.scope.CopyFrom(scope_spans.scope)
                scope.spans.extend(spans)
    return {number: part.SerializeToString() for number, part in parts.items()}


class Balancer(grpc.GenericRpcHandler):
    """Deals requests to receivers."""

    def __init__(self, addresses: list[str]) -> None:
        self._exports = [
            grpc.insecure_channel(address, options=[*LARGE, *AGAIN.items()]).unary_unary(EXPORT)
            for address in addresses
        ]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Answer exports of traces alone."""
        return grpc.unary_unary_rpc_method_handler(self._export) if handler_call_details.method == EXPORT else None

    def _export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        calls = [
            self._exports[number].future(part, timeout=30) for number, part in deal(body, len(self._exports)).items()
        ]
        failed = [call.exception() for call in calls if call.exception() is not None]
        if failed:
            context.abort(grpc.StatusCode.UNAVAILABLE, "a receiver did not take its part")
        return b""


def main() -> None:
    """Serve until killed."""
    address, *receivers = sys.argv[1:]
    server = grpc.server(
        ThreadPoolExecutor(32), handlers=[Balancer(receivers)], options=[*LARGE, ("grpc.so_reuseport", 0)]
    )
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
