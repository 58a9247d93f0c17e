"""What the ETL costs, and what its signals and splits are worth."""
