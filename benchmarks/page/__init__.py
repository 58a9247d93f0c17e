"""The page: how quickly a large trace and a long list open, and what the process holds."""
