"""What a span leaves out and others tell: neighbours, logs, later requests, stored responses.

Nothing here merges two spans into one call: that is `etl.calls.merge`.
"""
