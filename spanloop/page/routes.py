"""The page's addresses."""

from spanloop.page.views import overview, rewarding, sql, taking, trace, traces

WHOLE_DATA = ("/runs", "/training", "/checkpoints")
"""Beginnings of the addresses that show what belongs to no one project."""

ROUTES = (
    ("GET", "/", overview.show),
    ("GET", "/traces", traces.show),
    ("GET", "/live", traces.tail),
    ("GET", "/traces/{trace_id}", trace.show),
    ("GET", "/traces/{trace_id}/branch", trace.branch),
    ("GET", "/traces/{trace_id}/spans/{span_id}", trace.detail),
    ("GET", "/traces/{trace_id}/spans/{span_id}/picture", taking.picture),
    ("GET", "/traces/{trace_id}/otlp.json", taking.otlp),
    ("GET", "/traces/{trace_id}/fixture.zip", taking.fixture),
    ("POST", "/traces/{trace_id}/reward", rewarding.give),
    ("GET", "/sql", sql.show),
    ("GET", "/download/{form}", sql.download),
)
"""Method, address and handler of each."""
