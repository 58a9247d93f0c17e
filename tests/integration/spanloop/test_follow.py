"""The doctor sends a span as an agent would, and says where it is lost."""

from pathlib import Path

import pytest

from foundation.web.keys import Scope, create_key
from spanloop.doctor.follow import follow
from tests.integration.receiver.processes import running

pytestmark = pytest.mark.integration


def test_a_span_is_followed_to_where_sql_shows_it(tmp_path: Path) -> None:
    """Over HTTP and gRPC; where nobody answers, a key is missing or something else listens, what mends it is said."""
    with running(tmp_path) as one:
        for endpoint in (None, one.http):
            found = list(follow(tmp_path, endpoint, {}, timeout_s=10))
            assert [(one.check, one.verdict) for one in found] == [("one span", "ok"), ("arrival", "ok")]
        create_key(tmp_path, name="agents", project="p", scopes=[Scope.INGEST])
        (refused,) = follow(tmp_path, one.http, {}, timeout_s=10)
        assert "keys create" in (refused.remedy or "")
        elsewhere = list(follow(tmp_path / "other", f"{one.http}/v1/sql", {}, timeout_s=0))
    (away,) = follow(tmp_path, one.http, {}, timeout_s=1)

    assert [one.verdict for one in (refused, *elsewhere, away)] == ["fail"] * 3
    assert "nobody answers" in away.message
    assert "spanloop receiver run" in (away.remedy or "")
