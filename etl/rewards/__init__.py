"""Rewards: those somebody gave, those read off the trace (AIR), and their combination. One signal a file."""
