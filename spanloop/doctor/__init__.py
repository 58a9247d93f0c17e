"""What stands between the agents and a trained model: the machine, the traffic, serving, each with what mends it.

It looks and says; it changes nothing.
"""
