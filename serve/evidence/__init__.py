"""The gateway's own spans: what was sampled, by which policy, checked and sent by OTLP.

Nothing here answers a client.
"""
