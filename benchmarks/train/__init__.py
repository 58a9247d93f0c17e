"""How fast an update is, and what nights and windows teach."""
