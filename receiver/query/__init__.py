"""SQL over everything taken: which statements may run, what they see, their bounds, other processes' readers.

Nothing here writes a row.
"""
