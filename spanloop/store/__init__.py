"""`spanloop store`: has the stages bring what they publish to the store that machines share, and looks after it there.

What a stage's files mean is the stage's business; here are only checkpoints, reports, and what holds for all pointers.
"""
