"""Losses over flat tokens, corrections for another policy's samples, and what each loss needs beside them.

No model, no optimiser.
"""
