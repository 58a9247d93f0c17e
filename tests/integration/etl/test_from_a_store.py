"""The ETL over sealed days in a store: what it publishes is what it does from the receivers that pushed them."""

import hashlib
import shutil
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from etl.runs.run import run_etl
from etl.schema import TABLES, read_watermark, table_files
from etl.settings import EtlConfig
from foundation.report import RunReport
from foundation.store.opening import open_store
from foundation.web import places
from receiver.intake.importing import import_files
from receiver.pipeline import Pipeline
from receiver.reading.archive import push_days, receiver_name
from tests.stores import KINDS, new_url

pytestmark = pytest.mark.integration

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"


def received(data: Path, recordings: list[Path]) -> date:
    """Store recordings in DATA and seal the day; return one on which it is past."""
    import_files(data, recordings)
    today = datetime.now(UTC).date() + timedelta(days=3)
    with closing(Pipeline(data, purpose="a test")) as pipeline:
        pipeline.store.seal(today)
    return today


def published(data: Path) -> dict[str, str]:
    """Run the ETL; return the digest of every published file."""
    run_etl(EtlConfig(data=data, complete_after=0, bucket_spans=1), RunReport("etl run", {}), dry_run=False)
    files = [path for table in TABLES for path in table_files(data, table)]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", KINDS)
def test_a_receiver_s_days_in_a_store_are_the_receiver(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes; and the next run begins where this one ended, when another day has come."""
    here, elsewhere, url = tmp_path / "here", tmp_path / "elsewhere", new_url(kind, tmp_path)
    today = received(here, sorted(FIXTURES.glob("openinference-openai-agents/*tool*.pb")))
    other = tmp_path / "other"
    received(other, sorted(FIXTURES.glob("openinference-openai-agents/*handoff*.pb")))
    expected = published(here)
    assert len(expected) > 10
    monkeypatch.setenv(places.STORE, "")
    push_days(here, open_store(url), today=today)

    monkeypatch.setenv(places.RECEIVER, url)
    assert published(elsewhere) == expected
    watermark = read_watermark(elsewhere)
    assert watermark is not None
    assert [*watermark["receivers"]] == [f"{url}/days/{receiver_name(here)}"]
    assert published(elsewhere) == expected, "nothing new"

    push_days(other, open_store(url), today=today)
    assert set(published(elsewhere)) > set(expected), "a receiver that came later"
    shutil.rmtree(elsewhere / "stored")
    assert len(published(elsewhere)) > len(expected), "what is kept here is a copy"
