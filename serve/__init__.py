"""Checkpoint in, OpenAI-compatible endpoint out."""
