"""The model in training: opened, packed, run, stepped, written as a checkpoint, resumed.

What it learns from is decided in `train.plan`.
"""
