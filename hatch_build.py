"""Compiles the receiver's decoder when the project is installed; without a C compiler the receiver runs without it.

A wheel also takes along what `spanloop demo` needs of the examples. SPANLOOP_PURE=1 makes one without compiled code.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
SOURCE = ROOT / "receiver" / "decode" / "spans.c"
LIBRARY = SOURCE.parent / "libspans.so"
EXAMPLE = Path("examples", "calculator")
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
    from packaging.tags import platform_tags
except ImportError:
    pass
else:

    def _platform() -> str:
        """Return the tag of this platform, on Linux the one that says which C library is old enough."""
        tags = list(platform_tags())
        return next((tag for tag in tags if tag.startswith("manylinux")), tags[0])

    class CustomBuildHook(BuildHookInterface[Any]):
        """Called by hatchling for wheels and for editable installations."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile, and put the library into the wheel under the platform's tag."""
            if version != "editable":
                build_data["force_include"][str(ROOT / EXAMPLE)] = "spanloop/demo/example"
            if os.environ.get("SPANLOOP_PURE") != "1" and compile_decoder():
                build_data["pure_python"] = False
                # Loaded by ctypes: any Python will do, on any Linux whose C library is not older than this one's.
                build_data["tag"] = f"py3-none-{_platform()}"
                build_data["artifacts"] += ["receiver/decode/libspans.so"]


if __name__ == "__main__":
    sys.exit(not compile_decoder())
