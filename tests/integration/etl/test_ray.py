"""Ray Data processes the same buckets by the same function: what it publishes is, byte for byte, what one process does."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etl.schema import TABLES, table_files
from receiver.importing import import_files

pytest.importorskip("ray", reason="needs spanloop[ray]")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"


def run(data: Path, *arguments: str) -> dict[str, bytes]:
    """Run the ETL as a process of its own, one trace a bucket; return every published file."""
    shutil.rmtree(data / "dataset", ignore_errors=True)
    options = ["--data", str(data), "--complete-after", "0", "--bucket-spans", "1"]
    subprocess.run([sys.executable, "-m", "spanloop", "etl", "run", *options, *arguments], check=True)
    return {path.name: path.read_bytes() for table in TABLES for path in table_files(data, table)}


def test_ray_publishes_the_same_bytes(tmp_path: Path) -> None:
    """On a cluster of two cores, started for the run and gone after it; the bucket files are gone too."""
    import_files(tmp_path, sorted(FIXTURES.glob("openinference-openai-agents/*tool*.pb")))
    expected = run(tmp_path)

    found = run(tmp_path, "--ray", "local", "--workers", "2")

    assert found == expected
    assert len(found) > 10
    assert list((tmp_path / "dataset").glob(".buckets-*")) == []
