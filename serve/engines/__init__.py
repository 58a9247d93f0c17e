"""What samples: vLLM here or elsewhere, or the embedded engine, each behind the same few calls.

Nothing here decides which weights are live.
"""
