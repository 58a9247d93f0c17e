"""Episodes out of calls: trees, attempts and their tasks, what followed what, what caused what, sides of the hold-out.

Nothing here reads messages, or says what an episode was worth.
"""
