"""Sends an agent's spans to Spanloop, beside whatever exporter is already there."""
