"""The roof over the stages: console script, nightly run, demo, doctor."""

from importlib.metadata import version

__version__ = version("spanloop")
