"""The Collector's configurations name components that exist, keys that those take, and what they refer to."""

from pathlib import Path
from typing import Any

import pytest
import yaml

COLLECTOR = Path(__file__).parents[3] / "deploy" / "collector"
MERGED = "tee-merged.yaml"

_TLS = dict.fromkeys(
    ("insecure", "insecure_skip_verify", "ca_file", "cert_file", "key_file", "min_version", "server_name_override")
)
_SERVER_TLS = _TLS | dict.fromkeys(("client_ca_file", "reload_interval"))
_RETRY = dict.fromkeys(
    ("enabled", "initial_interval", "randomization_factor", "multiplier", "max_interval", "max_elapsed_time")
)
_BATCH = dict.fromkeys(("flush_timeout", "min_size", "max_size", "sizer", "partition"))
_QUEUE = dict.fromkeys(
    ("enabled", "num_consumers", "queue_size", "sizer", "block_on_overflow", "wait_for_result", "storage")
) | {"batch": _BATCH}
_CLIENT = dict.fromkeys(
    ("endpoint", "compression", "headers", "timeout", "keepalive", "balancer_name", "authority")
) | {
    "tls": _TLS,
    "auth": {"authenticator": None},
    "sending_queue": _QUEUE,
    "retry_on_failure": _RETRY,
}
_POLICY = {
    "name": None,
    "type": None,
    "ottl_condition": dict.fromkeys(("error_mode", "span", "spanevent")),
    "status_code": {"status_codes": None},
    "probabilistic": dict.fromkeys(("hash_salt", "sampling_percentage")),
}
KEYS: dict[str, dict[str, Any]] = {
    "extensions": {
        "file_storage": dict.fromkeys(
            ("directory", "create_directory", "fsync", "timeout", "compaction", "directory_permissions")
        ),
        "bearertokenauth": dict.fromkeys(("filename", "file_retry", "header", "scheme", "token", "tokens")),
        "health_check": dict.fromkeys(("endpoint", "path", "tls")),
    },
    "receivers": {
        "otlp": {
            "protocols": {
                "grpc": dict.fromkeys(("endpoint", "max_recv_msg_size_mib", "keepalive", "auth"))
                | {"tls": _SERVER_TLS},
                "http": dict.fromkeys(("endpoint", "max_request_body_size", "cors", "auth")) | {"tls": _SERVER_TLS},
            }
        }
    },
    "processors": {
        "memory_limiter": dict.fromkeys(
            ("check_interval", "limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage")
        ),
        "tail_sampling": dict.fromkeys(("decision_wait", "num_traces", "expected_new_traces_per_sec", "decision_cache"))
        | {"policies": _POLICY},
    },
    "connectors": {"forward": {}},
    "exporters": {
        "otlp": _CLIENT,
        "loadbalancing": {
            "routing_key": None,
            "routing_attributes": None,
            "timeout": None,
            "sending_queue": _QUEUE,
            "retry_on_failure": _RETRY,
            "protocol": {"otlp": _CLIENT},
            "resolver": {
                "dns": dict.fromkeys(("hostname", "port", "interval", "timeout")),
                "static": {"hostnames": None},
            },
        },
    },
}
"""Keys of each component, of those we use, as the schemas that the Collector and its contrib publish had them in 0.15x
(`config.schema.yaml` beside each component). None: a value of any shape."""


def read(name: str) -> dict[str, Any]:
    """Return a configuration."""
    found: dict[str, Any] = yaml.safe_load((COLLECTOR / name).read_text())
    return found


def unknown(value: Any, keys: Any, where: str) -> list[str]:
    """Return where a configuration has a key that its component does not take."""
    if keys is None or value is None:
        return []
    if isinstance(value, list):
        return [found for one in value for found in unknown(one, keys, where)]
    if not isinstance(value, dict):
        return [f"{where} is {value!r}"]
    return [
        found
        for key, one in value.items()
        for found in (unknown(one, keys[key], f"{where}.{key}") if key in keys else [f"{where}.{key}"])
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in COLLECTOR.glob("*.yaml")))
def test_each_key_is_one_that_its_component_takes(name: str) -> None:
    """And every component is one we know."""
    configuration = read(name)
    wrong = [
        found
        for kind, components in KEYS.items()
        for named, settings in (configuration.get(kind) or {}).items()
        for found in unknown(settings, components.get(named.partition("/")[0], {}), f"{kind}.{named}")
    ]

    assert wrong == []
    assert set(configuration) <= {*KEYS, "service"}


@pytest.mark.parametrize("name", sorted({path.name for path in COLLECTOR.glob("*.yaml")} - {MERGED}))
def test_whatever_a_pipeline_names_is_defined_and_used(name: str) -> None:
    """A complete configuration starts as it is; nothing in it is idle."""
    configuration = read(name)
    service = configuration["service"]
    defined = {kind: set(configuration.get(kind) or {}) for kind in KEYS}
    named: dict[str, set[str]] = {"extensions": set(service["extensions"])}
    for pipeline in service["pipelines"].values():
        assert pipeline["receivers"], name
        assert pipeline["exporters"], name
        for kind in ("receivers", "processors", "exporters"):
            named.setdefault(kind, set()).update(pipeline.get(kind, ()))

    connectors = defined["connectors"]
    assert named["extensions"] == defined["extensions"]
    assert named["processors"] == defined["processors"]
    assert named["receivers"] - connectors == defined["receivers"]
    assert named["exporters"] - connectors == defined["exporters"]
    assert connectors <= named["receivers"] & named["exporters"]
    storages = {
        queue["storage"]
        for exporter in configuration["exporters"].values()
        if (queue := exporter.get("sending_queue")) and "storage" in queue
    }
    assert storages <= defined["extensions"]


def test_spanloop_gets_everything_before_anything_is_sampled() -> None:
    """An episode that is sampled away cannot be learned from; the queue outlives a crash."""
    for name in ("tee.yaml", "gateway.yaml"):
        configuration = read(name)
        for pipeline in configuration["service"]["pipelines"].values():
            if "otlp/spanloop" in pipeline["exporters"]:
                assert "tail_sampling" not in pipeline["processors"]
    for path in COLLECTOR.glob("*.yaml"):
        storage = next(value for key, value in read(path.name)["extensions"].items() if key.startswith("file_storage"))
        assert storage["fsync"] is True


def test_requests_of_the_gateway_fit_into_the_receiver() -> None:
    """A batch the receiver refuses for its size would be dropped."""
    from receiver.settings import ReceiverConfig

    queue = read("gateway.yaml")["exporters"]["otlp/spanloop"]["sending_queue"]
    assert queue["batch"]["max_size"] <= ReceiverConfig().max_request_bytes
