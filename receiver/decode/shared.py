"""Long texts that many rows share: kept once, with a reference in each row.

What a resource or a scope says belongs to the request, not to every span in it. Up to `MAX_INLINE_BYTES` it stands in
each row all the same, where columns compress it; beyond that a row holds `shared:<sha256>`, and the text is in
`shared_texts` of its day. No JSON begins like a reference, so nobody can send one. Views show the text.
"""

import hashlib

MAX_INLINE_BYTES = 4096
"""Longest text that stands in every row."""

MAX_NAME_LENGTH = 1024
"""Longest name, version or schema URL of a resource or scope, characters; they stand in every row."""

MAX_EXPANDED_BYTES = 512 << 20
"""Most bytes that what rows share may take in one column of a request."""

PREFIX = "shared:"
COLUMNS = ("resource", "scope_attributes")
"""Columns that may hold references."""


class SharedTexts:
    """Collects the long texts of a request by their references."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def refer(self, text: str | None) -> str | None:
        """Return what a row holds for a text."""
        if text is None or len(text) <= MAX_INLINE_BYTES:
            return text
        reference = reference_to(text)
        self.texts[reference] = text
        return reference


def reference_to(text: str) -> str:
    """Return the reference to a text, which is its digest."""
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()


def canonical(column: str) -> str:
    """Return the SQL that tells two contents of a column apart, however each is kept.

    >>> canonical("name")
    'name'
    """
    if column not in COLUMNS:
        return column
    return f"case when starts_with({column}, '{PREFIX}') then {column} else '{PREFIX}' || sha256({column}) end"
