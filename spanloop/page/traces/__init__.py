"""Traces: the list of them, one as tree, waterfall and conversation, what is known of its calls, and taking it away."""
