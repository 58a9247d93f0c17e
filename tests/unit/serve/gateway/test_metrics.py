"""What the gateway counts, as Prometheus reads it."""

from serve.api.answers import Choice, Recording
from serve.gateway.metrics import Metrics


def rendered(metrics: Metrics, **changes: object) -> dict[str, str]:
    """Return the samples by name and labels."""
    given: dict[str, object] = {"in_flight": 0, "policies": {}, "evidence": {}, "is_ready": True, **changes}
    lines = metrics.render(**given).splitlines()  # type: ignore[arg-type]
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))  # type: ignore[misc]


def test_calls_tokens_and_ends_add_up() -> None:
    """By path and error; tokens as far as the engine named their ids."""
    metrics = Metrics()
    choice = Choice(token_ids=[1, 2], finish_reason="stop")
    metrics.count(
        "/v1/chat/completions", Recording(prompt_token_ids=[1, 2, 3], choices={0: choice, 1: choice}), None, 1
    )
    metrics.count("/v1/chat/completions", Recording(), "timeout", 100)

    found = rendered(metrics)

    assert found["vllm:prompt_tokens_total"] == "3"
    assert found["vllm:generation_tokens_total"] == "4"
    assert found['vllm:request_success_total{finished_reason="stop"}'] == "2"
    path = 'spanloop_gateway_requests_total{http_route="/v1/chat/completions",error_type='
    assert (found[path + '"none"}'], found[path + '"timeout"}']) == ("1", "1")


def test_the_histogram_is_cumulative_and_ends_at_all() -> None:
    """A call on an edge is within it."""
    metrics = Metrics()
    for seconds in (0.01, 0.011, 1000):
        metrics.count("/", Recording(), None, seconds)

    found = rendered(metrics)

    name = "gen_ai_server_request_duration_seconds"
    assert [found[f'{name}_bucket{{le="{edge}"}}'] for edge in ("0.01", "0.02", "81.92", "+Inf")] == list("1223")
    assert found[f"{name}_count"] == "3"


def test_labels_are_escaped() -> None:
    """A version is a directory's name, and may have anything in it."""
    found = rendered(Metrics(), policies={"live": 'a"b\\c'}, evidence={"num_spans_dropped": 2}, is_ready=False)

    assert found['spanloop_policy{arm="live",version="a\\"b\\\\c"}'] == "1"
    assert found['spanloop_evidence_spans_total{outcome="no_room"}'] == "2"
    assert found["spanloop_gateway_ready"] == "0"
