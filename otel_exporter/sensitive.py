"""What secrets and personal data look like in a text. Standard library only.

Each finder takes a text and yields what it found as (start, end, kind), in time linear in the text whatever the text.
Those with a check digit are checked, so that ids and amounts are left alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator

Found = tuple[int, int, str]
"""Start, end and kind of what was found in a text."""

Finder = Callable[[str], Iterable[Found]]

KINDS = ("KEY", "SECRET", "EMAIL", "CARD", "IBAN", "SSN", "PHONE")
"""In the order in which a stretch that looks like several of them is taken for one."""

_LETTERS = "A-Za-z\u00c0-\u04ff"
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf]))"  # \n written out, in JSON that stands inside other text, is no word
_AT = re.compile("@|%40")
_LOCAL_BACKWARDS = re.compile(rf"[{_LETTERS}0-9._%+-]+(?:'[{_LETTERS}0-9._%+-]+)*")
_DOMAIN = re.compile(rf"(?:[{_LETTERS}0-9][{_LETTERS}0-9-]{{0,62}}\.)+[{_LETTERS}]{{2,24}}")
MAX_LOCAL, MAX_DOMAIN = 64, 255
"""Longest parts of an address (RFC 5321, section 4.5.3.1)."""

_DIGITS = re.compile(r"(?<![0-9A-Za-z])\d(?:[ \u00a0-]?\d){11,}(?![0-9A-Za-z])|(?<=\\[nrtbf])\d(?:[ \u00a0-]?\d){11,}")
_PHONE = re.compile(
    r"(?<!\d)\+\d{1,15}(?:[ .\u00a0-]?\(\d{1,4}\)\d{0,8}|[ .\u00a0-]\d{2,8}){0,6}(?!\d)"
    r"|(?<![\d.-])(?:\(\d{3}\)[ ]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\d-])"
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_IBAN = re.compile(_START + r"[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{1,4}){3,8}")

_KEY_HINTS = (
    ("A", ("AKIA", "ASIA", "AIza")), ("G", ("SG.",)), ("J", ("eyJ",)), ("9", ("ya29.",)),
    ("/", ("hooks.slack.com/services/",)),
)  # fmt: skip
"""Beginnings of keys, by a letter that few texts have: to look for one letter costs next to nothing."""

_KEY_HINT = re.compile(
    "[-_](?:(?<=sk-|hf_|sl_|r8_)|(?<=gh[pousr]_|npm_|gsk_|xai-)|(?<=tvly-|pplx-|xapp-|pypi-|xox[abeoprs]-)|(?<=glpat-|shpat_|nvapi-)"
    "|(?<=k_live_|k_test_|dop_v1_)|(?<=lin_api_)|(?<=github_pat_)|(?<=AGE-SECRET-KEY-))"
)
"""What most keys begin with, looked for at the dash or the underscore that ends it: those are few in a text."""

_KEY = re.compile(
    _START + r"(?:sk-[\w-]{12,}|[srp]k_(?:live|test)_\w{10,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|xox[abeoprs]-[\w-]{10,}|xapp-[\w-]{10,}|hf_\w{20,}"
    r"|npm_\w{30,}|pypi-[\w-]{30,}|SG\.[\w-]{16,}\.[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|sl_[A-Za-z0-9]{4,}_[\w-]{20,}|shpat_\w{20,}|lin_api_\w{20,}|nvapi-[\w-]{20,}|gsk_\w{20,}|xai-\w{20,}|r8_\w{20,}"
    r"|tvly-[\w-]{16,}|pplx-\w{20,}|dop_v1_\w{30,}|AGE-SECRET-KEY-\w{20,}|hooks\.slack\.com/services/[\w/]{20,})",
    re.ASCII,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL)
_SCHEME = re.compile(r"\b(?:bearer|basic)\s{1,4}(?=[^\s\"']{0,400}\d)([\w.~+/=-]{16,})", re.IGNORECASE | re.ASCII)
_IN_URL = re.compile(r"://[^\s/:@\"'<]{1,100}:([^\s/@\"'<]{1,200})@")

_NAMES = (
    "password|passwd|passphrase|pwd|secret|api_?key|access_?key|private_?key|secret_?key|signing_?key|encryption_?key"
    "|authorization|cookie|credentials?|cvv|cvc|ssn"
    "|(?:access|refresh|auth|bearer|session|csrf|xsrf|id|api|device|bot|user|security)_?token"
)
_ENDS = "(?:_(?:value|text|hash|header|confirm|confirmation|[0-9]{1,3}))?"
_SECRET_NAME = re.compile(rf"(?:^|_|[a-z0-9])(?:{_NAMES}|secrets|passwords|cookies){_ENDS}$|(?:^|_)token$")
_HARMLESS_TOKEN = re.compile(
    "(?:^|_)(?:next|page|continuation|stop|eos|bos|pad|unk|sep|cls|mask|special|next_page)_token$"
)
_HUMP = re.compile("(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile("[^a-z0-9]+")
_ASSIGNED = re.compile(
    rf"(?:{_NAMES.replace('_?', '[_. -]?')})(?:s|[_-]?(?:value|text|header|confirm|confirmation|\d{{1,3}}))?"
    r"\\{0,4}[\"']?\s{0,4}(?:=>|[=:])\s{0,4}(?:(?:bearer|basic)\s{1,4})?"
    r"(?:\"((?:[^\"\\]|\\.){1,4000})|\\{1,4}\"((?:[^\"\\]|\\(?!\\{0,8}\")){1,4000})|'([^'\n]{1,4000})"
    r"|(?![\[{(\"'\\])([^\s\"'<,;(){}\[\]\\]{3,})(?![\w(\[]))",
    re.IGNORECASE,
)
_NAME_HINTS = (
    ("pass", ("passw", "passphrase")), ("pwd", ()), ("secret", ()), ("authorization", ()), ("cookie", ()),
    ("credential", ()), ("cv", ("cvv", "cvc")), ("ssn", ()),
    ("key", ("_key", "-key", " key", ".key", "ikey", "skey", "ekey", "tkey", "gkey", "nkey")),
    ("token", ('token"', "token'", "token\\", "token:", "token_", "token-")),
)  # fmt: skip
"""One of these is, in lower case, before a sign of assignment in every text that gives a secret a name; where the
second of a pair says in which words, one of those."""

LONGEST_NAME = 64
"""Characters of the longest name of a secret, with what may stand between it and its sign of assignment."""


def _names_a_secret(text: str) -> bool:
    """Tell whether a name of a secret may stand before a `:` or `=`; those are few, and the rest is not read."""
    pieces = text.replace("=", ":").split(":")
    pieces.pop()
    if not pieces:
        return False
    names = ":".join([piece.rstrip()[-LONGEST_NAME:] for piece in pieces]).lower() + ":"
    for hint, words in _NAME_HINTS:  # noqa: SIM110 - a generator takes longer than what it asks
        if hint in names and (not words or any(word in names for word in words)):
            return True
    return False


def is_secret_name(name: str, further: frozenset[str] = frozenset()) -> bool:
    """Tell whether what bears this name is a secret: the name of a field, a header, an attribute.

    >>> [is_secret_name(name) for name in ("db.password", "X-Api-Key", "accessToken", "max_tokens", "nextPageToken")]
    [True, True, True, False, False]
    """
    words = _NO_WORD.sub("_", _HUMP.sub("_", name).lower()).strip("_")
    if words in further or any(words.endswith("_" + one) for one in further):
        return True
    return (_SECRET_NAME.search(words) is not None or words.endswith("_token")) and _HARMLESS_TOKEN.search(
        words
    ) is None


def _hints_at_a_key(text: str) -> bool:
    if "-" in text:
        if _KEY_HINT.search(text) or "PRIVATE KEY" in text:
            return True
    elif "_" in text and _KEY_HINT.search(text):
        return True
    for letter, hints in _KEY_HINTS:  # noqa: SIM110 - as above
        if letter in text and any(hint in text for hint in hints):
            return True
    return False


def find_keys(text: str) -> Iterator[Found]:
    """Find API keys by the prefixes their makers gave them, web tokens and private keys."""
    if _hints_at_a_key(text):
        for match in _KEY.finditer(text):
            yield *match.span(), "KEY"
    if "PRIVATE KEY" in text:
        for match in _PRIVATE_KEY.finditer(text):
            yield *match.span(), "KEY"


def find_secrets(text: str) -> Iterator[Found]:
    """Find passwords in URLs, bearer tokens, and whatever is assigned to a telling name (`password=…`)."""
    if "://" in text:
        for match in _IN_URL.finditer(text):
            yield *match.span(1), "SECRET"
    if _hints_at_a_scheme(text):
        for match in _SCHEME.finditer(text):
            yield *match.span(1), "SECRET"
    if _names_a_secret(text):
        for match in _ASSIGNED.finditer(text):
            yield *match.span(match.lastindex or 0), "SECRET"


def find_emails(text: str) -> Iterator[Found]:
    """Find e-mail addresses, in any script that writes them with letters, also with `%40`."""
    for sign in _AT.finditer(text):
        before = text[max(0, sign.start() - MAX_LOCAL) : sign.start()]
        local = _LOCAL_BACKWARDS.match(before[::-1])
        domain = local and _DOMAIN.match(text, sign.end(), sign.end() + MAX_DOMAIN)
        if local is None or not domain:
            continue
        start = sign.start() - local.end()
        if start and text[start - 1] == "\\":  # an escape, in JSON that stands inside other text
            start += 5 if text[start] == "u" and sign.start() - start > 5 else 1
        while start < sign.start() and text[start] in "._%+-":
            start += 1
        if start < sign.start():
            yield start, domain.end(), "EMAIL"


def find_cards(text: str) -> Iterator[Found]:
    """Find payment card numbers: 13 to 19 digits of a known first digit, with the check digit that they demand."""
    for match in _DIGITS.finditer(text):
        run = match.group()
        groups = [(part.start(), part.end()) for part in re.finditer(r"\d+", run)]
        at = 0
        while at < len(groups):
            for end in range(min(at + 19, len(groups)), at, -1):
                if not 13 <= groups[end - 1][1] - groups[at][0] <= 40:
                    continue
                digits = "".join(run[a:b] for a, b in groups[at:end])
                if 13 <= len(digits) <= 19 and digits[0] in "23456" and _passes_luhn(digits):
                    yield match.start() + groups[at][0], match.start() + groups[end - 1][1], "CARD"
                    at = end - 1
                    break
            at += 1


def _passes_luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0 and len(set(digits)) > 1


def find_ibans(text: str) -> Iterator[Found]:
    """Find international bank account numbers, by their check digits (ISO 13616)."""
    for match in _IBAN.finditer(text):
        end = match.end()
        while end - match.start() >= 15:
            account = text[match.start() : end].replace(" ", "")
            if len(account) >= 15 and int("".join(str(int(c, 36)) for c in account[4:] + account[:4])) % 97 == 1:
                yield match.start(), end, "IBAN"
                break
            end -= 1


def find_social_security_numbers(text: str) -> Iterator[Found]:
    """Find social security numbers of the United States."""
    for match in _SSN.finditer(text):
        yield *match.span(), "SSN"


def find_phones(text: str) -> Iterator[Found]:
    """Find telephone numbers with their country's code, and North American ones as they are usually written."""
    for match in _PHONE.finditer(text):
        if 8 <= sum(map(str.isdigit, match.group())) <= 15:
            yield *match.span(), "PHONE"


FINDERS: dict[str, Finder] = {
    "KEY": find_keys, "SECRET": find_secrets, "EMAIL": find_emails, "CARD": find_cards, "IBAN": find_ibans,
    "SSN": find_social_security_numbers, "PHONE": find_phones,
}  # fmt: skip

_HINT_DIGITS = re.compile(r"\d[\d ().\u00a0-]{5,}\d")
_HINT_IBAN = re.compile(r"[A-Z]{2}\d{2} ?[A-Z0-9]{4}")
_MANY_DIGITS = frozenset({"CARD", "IBAN", "SSN", "PHONE"})
_ALL_BUT_DIGITS = bytes(sorted(set(range(256)) - set(b"0123456789")))
FEWEST_DIGITS = 8
"""No card, phone or social security number has fewer."""


def _num_digits(text: str) -> int:
    """Count the digits 0 to 9, in a tenth of the time of looking for them."""
    return len(text.encode("utf-8", "surrogatepass").translate(None, _ALL_BUT_DIGITS))


def _hints_at_digits(text: str, num_digits: int) -> bool:
    if num_digits < FEWEST_DIGITS and text.isascii():
        return num_digits >= 2 and _HINT_IBAN.search(text) is not None  # one may be nearly all letters
    return _HINT_DIGITS.search(text) is not None or _HINT_IBAN.search(text) is not None


def _hints_at_a_scheme(text: str) -> bool:
    lower = text.lower()
    return "bearer" in lower or "basic" in lower


def may_hold(text: str, kinds: frozenset[str]) -> bool:
    """Tell, fast, whether a text may hold one of these kinds; False is certain, in JSON's escapes as well.

    A single character that few texts have is looked for first: that costs next to nothing.
    """
    if "\\" in text and "\\u00" in text:
        return True
    has_at = "@" in text
    if "EMAIL" in kinds and (has_at or ("%" in text and "%40" in text)):
        return True
    if "KEY" in kinds and _hints_at_a_key(text):
        return True
    num_digits = _num_digits(text)
    if "SECRET" in kinds and (
        (has_at and "://" in text and _IN_URL.search(text))
        or _names_a_secret(text)
        or (num_digits and _hints_at_a_scheme(text))
    ):
        return True
    return not kinds.isdisjoint(_MANY_DIGITS) and _hints_at_digits(text, num_digits)


def normal_form(kind: str, text: str) -> str:
    """Return the form in which two spellings of one address, number or name are the same.

    >>> normal_form("PHONE", "+1 (415) 555-2671") == normal_form("PHONE", "415-555-2671")
    True
    """
    if kind == "EMAIL":
        return text.replace("%40", "@").lower()
    if kind in {"CARD", "SSN", "PHONE"}:
        digits = "".join(filter(str.isdigit, text))
        return digits[1:] if kind == "PHONE" and len(digits) == 11 and digits[0] == "1" else digits
    if kind == "IBAN":
        return text.replace(" ", "")
    return text if kind in {"KEY", "SECRET"} else " ".join(text.casefold().split())
