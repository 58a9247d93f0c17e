"""A change of what is live: checked before, proved after, recorded, undone when the proof fails.

Which share of the traffic a candidate gets while it is tried is `serve.canary`.
"""
