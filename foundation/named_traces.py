"""The file in which one stage tells another what is to be forgotten: traces, and names of what was said of them later.

{"traces": [["shop", "4bf92f3577b34da6a3ce929d0e0e4736"]], "names": ["chatcmpl-1"]}
"""

import json
from pathlib import Path

from foundation.errors import SettingsError


def read_traces(path: Path) -> tuple[set[tuple[str, str]], list[str]]:
    """Return project and id of each trace, and the names. Raises `SettingsError` for a file with anything else."""
    try:
        named = json.loads(path.read_bytes())
        traces = {(str(project), str(trace)) for project, trace in named["traces"]}
        return traces, [str(name) for name in named.get("names", [])]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SettingsError(
            f"{path} names no traces", hint='Expected is {"traces": [["PROJECT", "TRACE ID"], …]}, as JSON.'
        ) from None
