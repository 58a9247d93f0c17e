"""How requests come in: gRPC and HTTP servers, bodies, keys, imported files and rewards, all through one entry.

What becomes of a request after it was checked is not decided here: that is `receiver.pipeline`.
"""
