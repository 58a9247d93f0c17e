"""The page: what arrived, what it was worth, what the nights made of it and what is live, for people with a browser.

A process of its own. It reads through the receiver's bounded SQL and the files stages publish, and writes nothing but
an audit line: a reward goes to the receiver, a promotion is the command's. Who may ask for what: `entrance`.
"""
