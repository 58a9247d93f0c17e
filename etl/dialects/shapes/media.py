"""Images and other media in messages: a part in OpenAI's wire shape, whoever recorded it, with a digest of what it is.

Until it is published a message with media has `parts`, all of its content in order, which the column `media` then has
beside the messages: texts as `{"type": "text", "text": …}`, media as the API
takes them, each with a `digest`. Of a medium that was hidden or cut out on the way only its type is known: it has no
digest, and nothing can be trained or exported with it.
"""

from hashlib import sha256
from typing import Any

import orjson

Part = dict[str, Any]

HIDDEN = ("__REDACTED__", "<redacted>", "[redacted]", "<base64_image>", "base64_encoded_image")
"""What writers put in the place of a medium's bytes."""

KINDS = {"image": "image_url", "audio": "input_audio", "video": "video_url"}
"""Types of parts, by what a medium is."""


def media_part(block: dict[str, Any], kind: str) -> Part:
    """Return a block of content as a part; `kind` is what its reader calls it.

    >>> media_part({"type": "uri", "modality": "image", "uri": "https://x.org/a.png"}, "image_url")["image_url"]
    {'url': 'https://x.org/a.png'}
    >>> media_part({"type": "image", "source": {"media_type": "image/png", "data": "AA"}}, "image_url")["image_url"]
    {'url': 'data:image/png;base64,AA'}
    >>> media_part({"type": "image"}, "image_url")
    {'type': 'image_url'}
    """
    held = _sources(block)
    mime_type = _text(held, "mime_type", "media_type", "mediaType", "mimeType", "contentType", "content_type")
    modality = (mime_type or "").partition("/")[0] or str(_text(held, "modality") or "")
    shape = kind if kind in KINDS.values() else KINDS.get(modality, "image_url" if kind == "image" else kind)
    where = _text(held, "url", "uri", "image_url", "fileUri", "file_uri", "file_url", "video_url")
    data = _text(held, "data", "bytes", "base64", "b64_json", "content", "image", "file_data")
    if where is None and data is not None and data.startswith(("http://", "https://", "data:")):
        where, data = data, None
    named = _text(held, "file_id", "fileId", "id") if where is None and data is None else None
    if data is not None and where is None and shape != "input_audio":
        where = f"data:{mime_type or 'application/octet-stream'};base64,{data}"
    part = _shaped(shape, where, data, named, held, mime_type)
    if part is None:
        return {"type": shape}
    return {**part, "digest": sha256(orjson.dumps(part, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]}


def _sources(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a block with the boxes in it that may hold the medium, the innermost first."""
    found = [block]
    for depth in range(3):
        del depth
        inner = [value for held in found for value in held.values() if isinstance(value, dict)]
        found = [*(one for one in inner if not any(one is known for known in found)), *found]
    return found


def _text(held: list[dict[str, Any]], *names: str) -> str | None:
    """Return the first text under one of these names that was not hidden."""
    for name in names:
        for one in held:
            value = one.get(name)
            if isinstance(value, str) and value and not value.startswith(HIDDEN):
                return value
    return None


def _shaped(
    shape: str,
    where: str | None,
    data: str | None,
    named: str | None,
    held: list[dict[str, Any]],
    mime_type: str | None,
) -> Part | None:
    if shape == "input_audio":
        form = _text(held, "format") or (mime_type or "").partition("/")[2] or "wav"
        if data is None and where is not None and where.startswith("data:"):
            data = where.partition(",")[2]
        return {"type": shape, shape: {"data": data, "format": form}} if data else None
    if shape in {"image_url", "video_url"}:
        detail = _text(held, "detail")
        inner = {"url": where} if where else {"file_id": named} if named else None
        return None if inner is None else {"type": shape, shape: {**inner, **({"detail": detail} if detail else {})}}
    content = {"file_data": where} if where else {"file_id": named} if named else None
    return None if content is None else {"type": "file", "file": content}


def is_known(part: Part) -> bool:
    """Tell whether a part is there as it was sent."""
    return part["type"] == "text" or "digest" in part


def digests(message: dict[str, Any]) -> list[str | None]:
    """Return what a message's media are known by, in order; None for one that was not recorded."""
    return [part.get("digest") for part in message.get("parts") or () if part["type"] != "text"]


UNPUBLISHED = {"parts", "is_error"}
"""Keys of a message that its published form does not have."""


def plain(messages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return messages as they are published."""
    if not any(key in message for message in messages or () for key in UNPUBLISHED):
        return messages
    return [{key: value for key, value in message.items() if key not in UNPUBLISHED} for message in messages or ()]


def media_of(messages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return the parts of the messages that have media, each with the message's position; None where none has.

    >>> media_of([{"role": "user", "text": "a"}, {"role": "user", "parts": [{"type": "image_url"}]}])
    [{'message': 1, 'parts': [{'type': 'image_url'}]}]
    """
    found = [
        {"message": position, "parts": message["parts"]}
        for position, message in enumerate(messages or ())
        if message.get("parts")
    ]
    return found or None
