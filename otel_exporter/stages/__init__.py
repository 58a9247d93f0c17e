"""What happens to a request before it leaves the agent: spans are selected, and what is large is taken out.

Every stage may be left out. Redaction, which the receiver and the gateway use
too, is beside this room; nothing here sends anything.
"""
