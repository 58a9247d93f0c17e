"""Spans read by what their values are, under whatever names: the table of names, and what completes a call by it.

Special cases of one library are not here.
"""
