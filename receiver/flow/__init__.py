"""What stands between an accepted request and the store: room for it, the clock, the threads that carry it on.

Knows nothing of sockets; `receiver.pipeline` puts the pieces together.
"""
