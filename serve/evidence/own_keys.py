"""Keys of the gateway's own, for a receiver on the same DATA that has begun to ask for them.

The first key an operator makes, for whatever purpose, has the receiver ask everybody for one. The gateway's spans must
not stop for that: it makes itself a key that can send spans and nothing else, one for each project whose callers it
serves, so that spans are stored where the caller's own are. A key of these that somebody revoked is not made again.
"""

from pathlib import Path

from foundation.errors import SpanloopError
from foundation.files import write_atomically
from foundation.state import encode_state, read_state
from foundation.web.keys import MAX_NAME_LENGTH, Scope, create_key, keys_path, read_keys

NAME = "gateway's own, {project}"
DEFAULT_PROJECT = "default"
VERSION = 1


class OwnKeys:
    """Finds and makes them; DATA/serve/exporter_keys.json (mode 0600) holds their texts."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / "serve" / "exporter_keys.json"
        kept = read_state(self._path, version=VERSION, hint="Remove it, and revoke the keys it held.")
        self._texts: dict[str, str] = {} if kept is None else kept["texts"]
        self.trouble: str | None = None
        """Why there is no key that the receiver takes."""

    def find(self, project: str | None) -> str | None:
        """Return the key to send a caller's spans with; None before one was needed."""
        return self._texts.get(self._project(project)) if self._texts else None

    def make(self, project: str | None) -> str | None:
        """Return a new key, after the receiver asked for one; None where that cannot help."""
        name = self._project(project)
        if not keys_path(self._data).exists():
            self.trouble = f"the receiver asks for keys, and {self._data} has none: it is another's"
        elif name in self._texts:
            self.trouble = f"the receiver does not take the gateway's own key for project {name}: it was revoked"
        else:
            try:
                text = create_key(
                    self._data, name=NAME.format(project=name)[:MAX_NAME_LENGTH], project=name, scopes=[Scope.INGEST]
                )
                self._texts[name] = text
                write_atomically(self._path, encode_state({"texts": self._texts}, version=VERSION))
            except (SpanloopError, OSError) as error:
                self.trouble = f"the gateway could not make itself a key: {error}".splitlines()[0]
            else:
                self.trouble = None
                return text
        return None

    def _project(self, project: str | None) -> str:
        """Return the project of spans; of those without one, the only project there is."""
        if project is not None:
            return project
        projects = {key.project for key in read_keys(self._data)}
        return projects.pop() if len(projects) == 1 else DEFAULT_PROJECT
