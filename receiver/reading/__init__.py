"""Opening DATA for reading from any process: through the receiver that holds it, else from its files; and copying it.

Each module here imports what it needs and no more: asking a running receiver takes neither DuckDB nor a server.
"""
