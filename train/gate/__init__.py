"""How far a policy may go and whether it may be used: the budget and distance of a run, held-out estimates, probes.

Nothing here takes a step; a run that went too far is set back along the way it came.
"""
