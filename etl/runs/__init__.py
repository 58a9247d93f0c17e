"""What a run does: plan, buckets, and the processes that work on them.

Nothing here looks into a span; what it made is published by `etl.published`.
"""
