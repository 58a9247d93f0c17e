"""Signals: each a pure function of an episode's calls, and what it measures of one of them.

What a measure is worth, and that it never outranks an outcome, is `etl.rewards.combine`.
"""
