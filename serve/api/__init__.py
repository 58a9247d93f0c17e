"""OpenAI's API: how a request of each kind is passed on, and its answer read twice, for the record and for the client.

Pure: no socket, no engine, no span.
"""
