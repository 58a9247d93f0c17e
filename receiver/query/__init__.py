"""SQL over everything taken: which statements may run, what they read and see, their bounds, their processes.

Nothing here writes a row.
"""
