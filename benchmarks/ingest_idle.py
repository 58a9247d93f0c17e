"""What a receiver costs that nobody sends to: seconds until it is ready, memory, and CPU while it waits.

python benchmarks/ingest_idle.py --seconds 20
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ingest import cpu_seconds


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        command = [sys.executable, "-m", "spanloop", "receiver", "run", "--data", str(data)]
        began = time.perf_counter()
        with subprocess.Popen([*command, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]) as receiver:
            try:
                while not (data / "receiver.json").exists():
                    time.sleep(0.01)
                ready_s = time.perf_counter() - began
                time.sleep(2)
                cpu_before = cpu_seconds(receiver.pid)
                time.sleep(arguments.seconds)
                cpu_s = cpu_seconds(receiver.pid) - cpu_before
                lines = Path(f"/proc/{receiver.pid}/status").read_text().splitlines()
            finally:
                receiver.terminate()
    resident_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    idle = {"idle_rss_mb": resident_kb // 1024, "idle_cpu_percent": round(100 * cpu_s / arguments.seconds, 2)}
    print(json.dumps({"ready_s": round(ready_s, 2), **idle}))


if __name__ == "__main__":
    main()
