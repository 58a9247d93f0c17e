"""A candidate beside the live policy: who is answered by which, how both did, and when that is enough to decide.

The change itself is `serve.change`.
"""
