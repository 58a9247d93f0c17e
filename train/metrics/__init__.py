"""What is measured of a run: numbers an update, their cost, and curves of them.

Nothing here decides anything.
"""
