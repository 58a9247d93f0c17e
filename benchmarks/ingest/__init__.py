"""What the receiver takes, shows and holds, beside other stores; and what queries and restarts cost."""
