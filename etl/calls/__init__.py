"""Model calls out of spans: found, read by a dialect, merged over layers, completed by neighbours.

Nothing here knows of episodes or rewards.
"""
