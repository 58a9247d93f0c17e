"""OTLP in, DuckDB out: acknowledged means durable."""
