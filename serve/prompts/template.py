"""A system message with holes for what changes from call to call: dates, names. Matches exactly, or not at all.

What fills a hole is short and of one line: a message of another kind around the same words is another message.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from foundation.errors import SettingsError

HOLE = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]{0,63})\}\}")
LONGEST_FILLING = 200
"""Characters."""


@dataclass(frozen=True)
class Template:
    """A text, and whether `{{name}}` in it is a hole."""

    text: str
    is_template: bool = True

    @cached_property
    def _parts(self) -> list[str]:
        """Words and names of holes in turn, words first and last."""
        return HOLE.split(self.text) if self.is_template else [self.text]

    @property
    def holes(self) -> tuple[str, ...]:
        """Names of the holes, as they come."""
        return tuple(self._parts[1::2])

    def check(self) -> None:
        """Refuse a template of which nobody could say where a hole ends."""
        if not self.text.strip():
            raise SettingsError("a prompt without any text", hint="Write the system message into the file.")
        if self.holes and not "".join(self._parts[0::2]).strip():
            raise SettingsError("a prompt of holes alone would match every message", hint="Keep its own words in it.")
        if "" in self._parts[2:-1:2]:
            raise SettingsError("two holes of a prompt touch: nobody can say where the first ends", hint="Join them.")
        if len(set(self.holes)) < len(self.holes):
            raise SettingsError("a hole of a prompt stands in it twice", hint="Give each a name of its own.")

    def match(self, message: str) -> dict[str, str] | None:
        """Return what stands in the holes of a message; None where the message is another.

        Each hole ends where the words after it begin for the first time, the last one where the message does.

        >>> Template("Today is {{day}}. Be kind.").match("Today is Monday. Be kind.")
        {'day': 'Monday'}
        >>> Template("Today is {{day}}. Be kind.").match("Today is Monday. Be rude.")
        """
        words, holes = self._parts[0::2], self.holes
        if not holes:
            return {} if message == self.text else None
        if not message.startswith(words[0]) or not message.endswith(words[-1]):
            return None
        found, place = dict[str, str](), len(words[0])
        end = len(message) - len(words[-1])
        for name, after in zip(holes, words[1:], strict=True):
            is_last = name == holes[-1]
            stop = end if is_last else message.find(after, place, end)
            filling = message[place:stop] if stop >= place else ""
            if not filling or len(filling) > LONGEST_FILLING or "\n" in filling:
                return None
            found[name], place = filling, stop + len(after)
        return found

    def fill(self, fillings: Mapping[str, str]) -> str:
        """Return the text with its holes filled; a hole nobody filled stays as it is written.

        >>> Template("Today is {{day}}.").fill({"day": "{{night}}"})
        'Today is {{night}}.'
        """
        if not self.is_template:
            return self.text
        return HOLE.sub(lambda hole: fillings.get(hole[1], hole[0]), self.text)


def difference(former: str, latter: str, names: tuple[str, str]) -> str:
    """Return a unified diff of two texts, whole; what could move a terminal's cursor is written as an escape."""
    before, after = former.splitlines(), latter.splitlines()
    lines = difflib.unified_diff(before, after, *names, lineterm="", n=len(before) + len(after))
    return "".join("".join(map(_shown, line)) + "\n" for line in lines)


def _shown(each: str) -> str:
    return each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode()
