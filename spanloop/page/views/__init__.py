"""One module a page: the questions it asks, and what it makes of the answers. Nothing here knows of cookies or keys."""
