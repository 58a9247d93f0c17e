"""Asks a model without pause until a file appears, and says how many calls failed and which versions answered."""

import json
import os
import sys
import urllib.request
from pathlib import Path

CALL = {
    "model": "calculator:live",
    "max_tokens": 12,
    "messages": [{"role": "user", "content": "What is one and two?"}],
}


def main(base_url: str, stop: Path) -> None:
    """Ask, and print the counts."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    calls, failures, versions = 0, [], set()
    while not stop.exists():
        request = urllib.request.Request(f"{base_url}/chat/completions", json.dumps(CALL).encode(), headers)
        calls += 1
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                versions.add(answer.headers["x-spanloop-policy-version"])
                json.load(answer)
        except OSError as error:
            failures.append(str(error))
    print(json.dumps({"calls": calls, "failures": failures, "versions": sorted(versions)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
