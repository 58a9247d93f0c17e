"""What a receiver costs that nobody sends to: seconds until it is ready, memory, and CPU while it waits.

    python -m benchmarks.ingest.idle --seconds 20

Memory is what is resident, split into its own and what the kernel can drop or share: pages of the libraries' files.
`libraries_rss_mb` is a process that has imported gRPC, DuckDB, Arrow, NumPy and aiohttp, opened a database in memory,
and done nothing else: what is left once all of ours is gone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ingest.servers import receiver

LIBRARIES = """
import aiohttp.web, duckdb, grpc, numpy, pyarrow
connection = duckdb.connect(":memory:")
connection.execute("set TimeZone = 'UTC'")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data") as server:
        time.sleep(2)
        cpu_before = server.cpu_s
        time.sleep(arguments.seconds)
        cpu_s = server.cpu_s - cpu_before
        idle = {
            "ready_s": round(server.ready_s, 2),
            "idle_rss_mb": server.memory_mb("VmRSS"),
            "of_it_own_mb": server.memory_mb("RssAnon"),
            "of_it_files_mb": server.memory_mb("RssFile"),
            "libraries_rss_mb": int(subprocess.check_output([sys.executable, "-c", LIBRARIES])) // 1024,
            "idle_cpu_percent": round(100 * cpu_s / arguments.seconds, 2),
        }
    print(json.dumps(idle))


if __name__ == "__main__":
    main()
