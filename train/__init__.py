"""Transitions in, checkpoint out."""
