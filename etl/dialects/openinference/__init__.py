"""OpenInference: its attributes, and what its libraries write besides of the frameworks that they record.

What a framework or platform loses in any convention is in `frameworks` and `platforms`, which know nothing of this.
"""
