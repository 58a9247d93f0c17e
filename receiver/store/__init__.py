"""The day files: which spans are new, how rows land, how days are sealed, kept and removed, and who may write.

Nothing here listens to a socket or judges a query.
"""
