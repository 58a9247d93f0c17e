"""Sends what an agent does to Spanloop, from inside its process, without ever being in its way.

Where there is OpenTelemetry: its spans, beside whatever exporter is already there. Where there is none:
`otel_exporter.tracker`. Names are loaded when they are first used, so that the tracker brings no OpenTelemetry along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_exporter.episodes import annotate, episode
    from otel_exporter.provider import attach
    from otel_exporter.rewards import reward

__all__ = ["annotate", "attach", "episode", "reward"]

_HOMES = {
    "annotate": "otel_exporter.episodes",
    "attach": "otel_exporter.provider",
    "episode": "otel_exporter.episodes",
    "reward": "otel_exporter.rewards",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
