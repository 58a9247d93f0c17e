"""Values as writers shape them: messages, parts, tool calls, whole requests and responses, JSON within JSON.

Nothing here knows a producer.
"""
