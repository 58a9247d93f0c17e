"""How long the rows of an export take: read, made spans, stored.

    python -m benchmarks.ingest.history --rows 1000000

Rows are observations of Langfuse, half of them model calls with a question of 400 characters, and a score for every
eight, as JSON lines in one file. No receiver runs: they go through the log into the day's file. Prints one JSON object.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import orjson

from receiver.history.importing import import_history

SPANS_A_TRACE = 8
WORDS = "what is the weather in the town where the train from the north stops first "


def main() -> None:
    """Write the file, import it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "export.jsonl"
        write(path, arguments.rows)
        began, cpu_began = time.perf_counter(), time.process_time()
        outcome = import_history("langfuse", [path], Path(directory) / "data")
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        figures = {
            "rows": outcome.rows,
            "imported": outcome.imported,
            "file_mib": round(path.stat().st_size / 2**20),
            "seconds": round(seconds, 1),
            "cpu_s": round(cpu_s, 1),
            "rows_per_s": round(outcome.rows / seconds),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    print(json.dumps(figures))


def write(path: Path, num_rows: int) -> None:
    """Write the export: traces of eight observations and a score each, until there are enough rows."""
    with path.open("wb") as file:
        for number in range(num_rows):
            trace, place = divmod(number, SPANS_A_TRACE + 1)
            row = score(trace) if place == SPANS_A_TRACE else observation(trace, place)
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def observation(trace: int, place: int) -> dict[str, object]:
    """Return one observation: the first of a trace its agent, then model calls and tools in turns."""
    kind = "AGENT" if place == 0 else "GENERATION" if place % 2 else "TOOL"
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{trace} {WORDS * 5}"}]
    return {
        "id": f"{trace * SPANS_A_TRACE + place + 1:016x}",
        "trace_id": f"{trace + 1:032x}",
        "project_id": "p",
        "environment": "production",
        "type": kind,
        "parent_observation_id": f"{trace * SPANS_A_TRACE + 1:016x}" if place else "",
        "start_time": f"2024-05-29 13:{trace % 60:02}:{place:02}.963000",
        "end_time": f"2024-05-29 13:{trace % 60:02}:{place + 1:02}.463000",
        "name": kind.lower(),
        "metadata": {"topic": "weather"},
        "level": "DEFAULT",
        "input": orjson.dumps({"messages": asked}).decode() if kind == "GENERATION" else "{}",
        "output": '{"role": "assistant", "content": "Rain."}' if kind == "GENERATION" else "",
        "provided_model_name": "gpt-4o-mini" if kind == "GENERATION" else "",
        "model_parameters": '{"temperature":0.7}' if kind == "GENERATION" else "",
        "usage_details": {"input": 90, "output": 3, "total": 93} if kind == "GENERATION" else {},
        "user_id": "u1",
        "session_id": f"s{trace}",
    }


def score(trace: int) -> dict[str, object]:
    """Return the score of a trace."""
    return {
        "id": f"score-{trace}",
        "timestamp": "2024-05-29 14:00:00.000000",
        "trace_id": f"{trace + 1:032x}",
        "observation_id": None,
        "name": "outcome",
        "value": trace % 2,
        "source": "API",
        "data_type": "NUMERIC",
        "string_value": None,
    }


if __name__ == "__main__":
    main()
