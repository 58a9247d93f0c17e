"""What the gateway adds to a call, and whether canaries, promotions and recorded log-probabilities are right."""
