"""Compiles the receiver's decoder when the project is installed; without a C compiler the receiver runs without it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "receiver" / "decode" / "spans.c"
LIBRARY = SOURCE.parent / "libspans.so"
FLAGS = ("-std=c11", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")


def compile_decoder() -> bool:
    """Compile `spans.c` beside itself and tell whether that worked. Plain C: no Python headers are needed."""
    partial = LIBRARY.with_suffix(".tmp")
    try:
        subprocess.run(["cc", *FLAGS, "-o", partial, SOURCE, "-lm"], check=True)  # noqa: S607 - whichever is there
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"receiver/decode/spans.c was not compiled, spans are decoded in Python: {error}\n")
        return False
    partial.replace(LIBRARY)
    return True


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:
    pass
else:

    class CustomBuildHook(BuildHookInterface[Any]):
        """Called by hatchling for wheels and for editable installations."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile, and put the library into the wheel under the platform's tag."""
            if compile_decoder():
                build_data["pure_python"] = False
                build_data["infer_tag"] = version != "editable"
                build_data["artifacts"] += ["receiver/decode/libspans.so"]


if __name__ == "__main__":
    sys.exit(not compile_decoder())
