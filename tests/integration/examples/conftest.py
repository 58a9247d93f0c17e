"""The example's scripts import each other by bare name, as scripts beside each other do."""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "calculator"

sys.path.insert(0, str(EXAMPLE))
