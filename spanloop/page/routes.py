"""The page's addresses."""

from spanloop.page.traces import listing, rewarding, taking, trace
from spanloop.page.views import checkpoints, episodes, overview, prompts, replays, rewards, runs, sql, tools, training

WHOLE_DATA = ("/runs", "/training", "/checkpoints", "/prompts", "/replay")
"""Beginnings of the addresses that show what belongs to no one project."""

ROUTES = (
    ("GET", "/", overview.show),
    ("GET", "/traces", listing.show),
    ("GET", "/live", listing.tail),
    ("GET", "/traces/{trace_id}", trace.show),
    ("GET", "/traces/{trace_id}/branch", trace.branch),
    ("GET", "/traces/{trace_id}/spans/{span_id}", trace.detail),
    ("GET", "/traces/{trace_id}/spans/{span_id}/picture", taking.picture),
    ("GET", "/traces/{trace_id}/otlp.json", taking.otlp),
    ("GET", "/traces/{trace_id}/fixture.zip", taking.fixture),
    ("POST", "/traces/{trace_id}/reward", rewarding.give),
    ("GET", "/episodes", episodes.show),
    ("GET", "/rewards", rewards.show),
    ("GET", "/tools", tools.show),
    ("GET", "/runs", runs.show),
    ("GET", "/training", training.newest),
    ("GET", "/training/{checkpoint}", training.show),
    ("GET", "/training/{checkpoint}/series", training.series),
    ("GET", "/checkpoints", checkpoints.show),
    ("GET", "/checkpoints/compare", checkpoints.compare),
    ("POST", "/checkpoints/{action}", checkpoints.act),
    ("GET", "/prompts", prompts.show),
    ("POST", "/prompts/{action}", prompts.act),
    ("GET", "/replay", replays.show),
    ("GET", "/sql", sql.show),
    ("GET", "/download/{form}", sql.download),
)
"""Method, address and handler of each."""
