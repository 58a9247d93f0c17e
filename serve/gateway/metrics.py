"""What the gateway counts, in Prometheus' text format, under vLLM's and OpenTelemetry's names where they have one.

vLLM: docs.vllm.ai, Production Metrics. OpenTelemetry: `gen_ai.server.request.duration`, spelled as its Prometheus
exporter spells it. Ours: what became of the evidence, and which policy answers.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from serve.api.answers import Recording

BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""As the GenAI conventions advise for `gen_ai.server.request.duration`."""

EVIDENCE = {
    "num_spans_exported": "exported",
    "num_spans_dropped": "no_room",
    "num_spans_failed": "refused",
    "num_spans_unencodable": "unencodable",
    "num_spans_damaged": "damaged",
}
"""Label by the name in `Delivery.counts`."""


class Metrics:
    """Counts since the process started."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str]] = Counter()
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._seconds = 0.0
        self._num_tokens: Counter[str] = Counter()
        self._finished: Counter[str] = Counter()

    def count(self, path: str, recording: Recording, error: str | None, seconds: float) -> None:
        """Count a call that ended, under the path it came by and with what went wrong."""
        self._answers[path, error or "none"] += 1
        self._buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self._seconds += seconds
        self._num_tokens["prompt"] += len(recording.prompt_token_ids or ())
        for choice in recording.choices.values():
            self._num_tokens["generation"] += len(choice.token_ids)
            if choice.finish_reason is not None:
                self._finished[choice.finish_reason] += 1

    def render(
        self,
        *,
        in_flight: int,
        policies: Mapping[str, str],
        evidence: Mapping[str, int],
        is_ready: bool,
        fallbacks: Mapping[str, int] | None = None,
    ) -> str:
        """Return everything as text; `policies` are versions by arm (`live`, `canary`), `fallbacks` by reason."""
        lines: list[str] = []
        _add(lines, "vllm:num_requests_running", "gauge", "calls being answered", [("", in_flight)])
        for kind, name in (("prompt", "vllm:prompt_tokens"), ("generation", "vllm:generation_tokens")):
            _add(
                lines,
                name,
                "counter",
                f"{kind} tokens, as far as the engine named their ids",
                [("", self._num_tokens[kind])],
            )
        finished = [(f'{{finished_reason="{_escaped(why)}"}}', num) for why, num in sorted(self._finished.items())]
        _add(lines, "vllm:request_success", "counter", "choices that were finished, by why", finished)
        answers = [
            (f'{{http_route="{path}",error_type="{_escaped(error)}"}}', num)
            for (path, error), num in sorted(self._answers.items())
        ]
        _add(lines, "spanloop_gateway_requests", "counter", "calls that ended, by what went wrong", answers)
        fell = [(f'{{reason="{_escaped(why)}"}}', num) for why, num in sorted((fallbacks or {}).items())]
        _add(lines, "spanloop_gateway_fallback", "counter", "answers of the hosted model, by why it was asked", fell)
        _add(
            lines,
            "gen_ai_server_request_duration_seconds",
            "histogram",
            "from the request to the last byte",
            self._histogram(),
        )
        outcomes = [(f'{{outcome="{outcome}"}}', evidence.get(name, 0)) for name, outcome in EVIDENCE.items()]
        text = "spans by what became of them: " + ", ".join(EVIDENCE.values()) + "; all but the first are lost"
        _add(lines, "spanloop_evidence_spans", "counter", text, outcomes)
        places = {"all": "num_spans_waiting", "disk": "num_spans_spooled"}
        waiting = [(f'{{place="{place}"}}', evidence.get(name, 0)) for place, name in places.items()]
        _add(lines, "spanloop_evidence_waiting_spans", "gauge", "spans on their way to the receiver", waiting)
        _add(lines, "spanloop_evidence_spool_bytes", "gauge", "disk they take", [("", evidence.get("spool_bytes", 0))])
        served = [(f'{{arm="{arm}",version="{_escaped(version)}"}}', 1) for arm, version in policies.items()]
        _add(lines, "spanloop_policy", "gauge", "the policies that answer", served)
        _add(lines, "spanloop_gateway_ready", "gauge", "1 while calls are answered", [("", int(is_ready))])
        return "\n".join(lines) + "\n"

    def _histogram(self) -> Iterable[tuple[str, float]]:
        total = 0
        for bound, num in zip((*BUCKETS_S, float("inf")), self._buckets, strict=True):
            total += num
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'_bucket{{le="{edge}"}}', total
        yield "_sum", round(self._seconds, 6)
        yield "_count", total


def _add(lines: list[str], name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> None:
    suffix = "_total" if kind == "counter" else ""
    lines += [f"# HELP {name}{suffix} {text}", f"# TYPE {name}{suffix} {kind}"]
    lines += [f"{name}{suffix}{labels} {value}" for labels, value in samples]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
