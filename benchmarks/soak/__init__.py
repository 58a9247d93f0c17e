"""Receiver and gateway under load and faults, for hours."""
