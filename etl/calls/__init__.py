"""Model calls out of spans: found, merged over layers, completed by neighbours, and judged whether they are whole.

What one span says is read by `etl.dialects`; nothing here knows of episodes or rewards.
"""
