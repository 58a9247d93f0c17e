"""How requests reach a receiver: from a thread of its own, over HTTP or gRPC, and by way of a disk while it is away.

What is in them is not looked at here, and nothing raises into the agent.
"""
