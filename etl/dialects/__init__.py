"""One attribute vocabulary a file, and the one canonical call they are all read into."""
