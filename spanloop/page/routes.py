"""The page's addresses."""

from spanloop.page.views import overview, sql

WHOLE_DATA = ("/runs", "/training", "/checkpoints")
"""Beginnings of the addresses that show what belongs to no one project."""

ROUTES = (
    ("GET", "/", overview.show),
    ("GET", "/sql", sql.show),
    ("GET", "/download/{form}", sql.download),
)
"""Method, address and handler of each."""
