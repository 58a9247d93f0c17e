"""Messages of model calls in the shapes that providers and recorders have them, made canonical.

Nothing here knows of spans; requests and answers around the messages are `requests` and `exchanges` beside it.
"""
