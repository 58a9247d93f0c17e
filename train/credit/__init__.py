"""Which call earned how much: from rewards to one advantage a call, or one a token.

Nothing here knows how a loss uses it.
"""
