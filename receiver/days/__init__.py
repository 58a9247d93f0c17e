"""The day files: what is in one, which are open, how they are mended, sealed, copied, checked and removed.

Which rows go into them is decided in `receiver.store`.
"""
