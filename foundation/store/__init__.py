"""A place that several machines share: files that never change, and small pointers that change by condition alone.

Knows nothing of spans, tables or checkpoints. `file://` and `s3://` are used by the same code.
"""
