"""A night, or windows of minutes: which steps there are, what is kept of them, and when it is time for the next.

The steps' own work is the stages', which are started as processes; what happened the night before is read from files.
"""
