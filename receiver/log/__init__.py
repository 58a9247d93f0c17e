"""The write-ahead log: appended to in groups, synced before anything is acknowledged, read again at the next start.

Knows nothing of spans or DuckDB: its records are bytes.
"""
