"""What a module loads at run time, which the static import contracts cannot see."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import tiny_checkpoint


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules a fresh interpreter has loaded after running a statement."""
    script = f"{statement}\nimport sys\nprint('\\n'.join(sorted(m.split('.')[0] for m in sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["otel_exporter", "otel_exporter.exporter", "otel_exporter.schema"])
def test_exporter_brings_nothing_of_ours_into_the_agent(module: str) -> None:
    """The agent's process gets OpenTelemetry and one small package, no more."""
    assert not loaded_by(f"import {module}") & {
        "foundation",
        "receiver",
        "etl",
        "train",
        "serve",
        "spanloop",
        "pydantic",
    }


@pytest.mark.parametrize("stage", ["receiver", "etl", "train", "serve"])
def test_contracts_import_nothing_heavy(stage: str) -> None:
    """Reading a contract costs no engine."""
    assert not loaded_by(f"import {stage}.schema") & {"duckdb", "polars", "torch", "transformers", "pyarrow", "aiohttp"}


def test_the_command_line_loads_no_stage_until_one_runs() -> None:
    """`spanloop --version` answers at once."""
    assert not loaded_by("import spanloop.cli") & {"receiver", "etl", "train", "serve", "torch", "duckdb", "polars"}


TAKE_SPANS = """
import sys, tempfile
from pathlib import Path
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
request = ExportTraceServiceRequest()
request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
pipeline = Pipeline(Path(tempfile.mkdtemp()))
pipeline.submit(read_protobuf(Signal.TRACES, request.SerializeToString()), "default").result()
pipeline.close()
assert pipeline.store.counts["stored_spans"] == 1
"""


def test_a_span_is_stored_without_pandas() -> None:
    """Arrow and DuckDB import it when asked for a conversion: half a second and 40 MB, at the first request."""
    loaded = loaded_by(TAKE_SPANS)

    assert {"duckdb", "pyarrow"} <= loaded
    assert "pandas" not in loaded


def test_a_checkpoint_is_checked_without_torch(tmp_path: Path) -> None:
    """A gateway, and commands that change what is live, look at headers and digests; torch takes seconds to import."""
    checkpoint = tiny_checkpoint(tmp_path / "c", seed=1)

    loaded = loaded_by(
        "from pathlib import Path; from serve.changes import check_promotable, check_compatible; "
        f"path = Path({str(checkpoint)!r}); check_promotable(path, force=False); check_compatible(path, path)"
    )

    assert "safetensors" in loaded
    assert not loaded & {"torch", "transformers"}


SERVERS = {"grpc", "aiohttp"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("--help",), {*SERVERS, "duckdb", "pyarrow", "polars", "torch", "receiver", "etl", "train", "serve"}),
        (("sql", "select 1"), {*SERVERS, "polars", "torch", "etl", "train", "serve"}),
        (("reward", "ab" * 16, "1"), {*SERVERS, "duckdb", "pyarrow", "polars", "torch", "etl", "train", "serve"}),
        (("receiver", "status"), {*SERVERS, "polars", "torch", "etl", "train", "serve"}),
        (("receiver", "--help"), {*SERVERS, "duckdb", "pyarrow", "polars", "torch", "etl", "train", "serve"}),
        (("doctor",), {*SERVERS, "polars", "torch", "etl", "train"}),
    ],
)
def test_light_commands_load_no_server_and_no_engine(
    tmp_path: Path, arguments: tuple[str, ...], absent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They answer people at a prompt: each library here is a tenth of a second or more."""
    monkeypatch.chdir(tmp_path)
    run = f"import contextlib, sys\nsys.argv = {['spanloop', *arguments]}\nfrom spanloop.cli import main\n"
    script = (
        f"{run}import io\nwith contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main()"
    )

    assert not loaded_by(script) & absent
