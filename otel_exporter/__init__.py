"""Sends an agent's spans to Spanloop, beside whatever exporter is already there."""

from otel_exporter.attach import attach
from otel_exporter.reward import reward

__all__ = ["attach", "reward"]
