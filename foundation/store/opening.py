"""Opens a store by its URL.

file:///mnt/shared/spanloop     a directory, on this machine or a shared file system with locks
s3://bucket/prefix              Amazon S3, and servers that speak its API, conditional writes included
gs://bucket/prefix              Google Cloud Storage
az://container/prefix           Azure Blob Storage
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from foundation.directories import STORES
from foundation.errors import SettingsError
from foundation.store.store import Store
from foundation.web import places

CLOUDS = STORES - {"file"}


def open_store(url: str) -> Store:
    """Return the store of a URL; what it needs of keys and addresses it takes from the cloud's own variables."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.strip("/"):
        from foundation.store.local import LocalStore  # deferred: each kind brings its own libraries

        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme in CLOUDS and parts.netloc and not parts.query and parts.username is None:
        from foundation.store.cloud import CloudStore

        return CloudStore(url)
    raise SettingsError(
        f"--store {url[:200]!r} is no store", hint="--store file:///DIRECTORY, s3://BUCKET/PREFIX, gs://… or az://…"
    )


def require_store() -> Store:
    """Return the store that was named. Raises `SettingsError` where none was."""
    url = places.store()
    if url is None:
        raise SettingsError(
            "no store is named",
            hint=f"--store file:///DIRECTORY, s3://BUCKET/PREFIX, gs://… or az://…, or {places.STORE}",
        )
    return open_store(url)
