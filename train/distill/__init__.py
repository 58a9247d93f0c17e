"""From the calls of somebody else's model to a student of one's own: which calls are good enough, and how it is taught.

What a call earned beside others is not asked here: what was chosen is imitated, and a hold-out says when to stop.
"""
