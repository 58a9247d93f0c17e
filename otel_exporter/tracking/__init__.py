"""How the tracker sees a model call without OpenTelemetry: at the HTTP transport, streams put together.

What is made of it, spans and episodes, is the tracker's. Standard library only.
"""
