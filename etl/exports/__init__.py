"""Published tables for people and other programs: exports, statistics, one trace drawn.

Nothing here changes what is published.
"""
