"""What is published already: found by an index, read to see what new spans belong to, replaced by one rename.

What a run computes and in which pieces is `etl.runs`.
"""
