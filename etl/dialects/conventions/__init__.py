"""Readers of conventions that many libraries write: OpenTelemetry GenAI, Traceloop, the gateway's own.

What a convention leaves out is completed by structure.
"""
