"""Whether what was learned may be used: distance from the acting policy, held-out estimates, probes.

Nothing here changes a weight.
"""
