"""Span trees in, reinforcement-learning transitions out."""
