"""Published transitions to token sequences: what is admitted, how text is rendered, what shares a sequence.

No tensors, and nothing of what a call earned.
"""
