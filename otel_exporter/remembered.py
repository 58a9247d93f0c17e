"""What redaction remembers of texts: agents say again with every call what they said before. Standard library only."""

REMEMBERED_CHARACTERS = 1 << 20
"""Of texts that were looked at, the last so many to twice as many are known."""

SHORTEST_BEGINNING = 1024
OVERLAP = 64
"""What a text is looked at before where it goes on: longer than any sign of something in it."""


class Texts:
    """What became of texts that were looked at, as long as they are asked for: a conversation repeats itself."""

    def __init__(self) -> None:
        self._recent: dict[tuple[int, str], str] = {}
        self._former: dict[tuple[int, str], str] = {}
        self._room = REMEMBERED_CHARACTERS

    def get(self, key: "tuple[int, str]") -> "str | None":
        """Return what a text, so deep in others, became; None where that is not known."""
        found = self._recent.get(key)
        if found is None and (found := self._former.get(key)) is not None:
            self.keep(key, found)
        return found

    def keep(self, key: "tuple[int, str]", became: str) -> None:
        """Remember what a text became, unless it is very long."""
        size = len(key[1]) + 64
        if size > REMEMBERED_CHARACTERS // 16:
            return
        if size > self._room:
            self._former, self._recent, self._room = self._recent, {}, REMEMBERED_CHARACTERS
        self._recent[key] = became
        self._room -= size


class Beginnings:
    """Long texts in which nothing was found, which the next one may begin with: a prompt holds the one before."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def end_of(self, text: str) -> int:
        """Return up to where a text need not be looked at again."""
        known = self._known
        if len(text) < SHORTEST_BEGINNING or not text.startswith(known):
            return 0
        return max(len(one) for one in known if text.startswith(one)) - OVERLAP

    def keep(self, text: str) -> None:
        """Remember a text up to its last quotation mark, over which no number and no address goes on."""
        end = text.rfind('"')
        if SHORTEST_BEGINNING <= end <= REMEMBERED_CHARACTERS // 16:
            self._known = (*self._known[-15:], text[:end])
