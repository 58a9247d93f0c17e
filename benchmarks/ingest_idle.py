"""What a receiver costs that nobody sends to: seconds until it is ready, memory, and CPU while it waits.

    python benchmarks/ingest_idle.py --seconds 20

Memory is what is resident, split into its own and what the kernel can drop or share: pages of the libraries' files.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from ingest_servers import receiver


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, receiver(Path(directory) / "data") as server:
        time.sleep(2)
        cpu_before = server.cpu_s
        time.sleep(arguments.seconds)
        idle = {
            "ready_s": round(server.ready_s, 2),
            "idle_rss_mb": server.memory_mb("VmRSS"),
            "of_it_own_mb": server.memory_mb("RssAnon"),
            "of_it_files_mb": server.memory_mb("RssFile"),
            "idle_cpu_percent": round(100 * (server.cpu_s - cpu_before) / arguments.seconds, 2),
        }
    print(json.dumps(idle))


if __name__ == "__main__":
    main()
