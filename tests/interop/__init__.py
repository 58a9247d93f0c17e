"""Clients the project did not write, against a receiver that is killed under them."""
