"""What a run does: plan, buckets, the processes that work on them, and publishing by one rename.

Nothing here looks into a span.
"""
