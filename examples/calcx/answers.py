"""Whether a numeric answer is right: exactly, and within the tolerance of the published task."""

import re
from fractions import Fraction

from examples.calcx.arithmetic import NotANumber, evaluate

TOLERANCE = Fraction(1, 100)
"""Relative, of the published reward: 199 counts for 200. So exact matches are reported beside it."""

MARKER = re.compile(r"###\s*ANSWER:\s*(.*?)\s*(?:###|$)", re.DOTALL | re.IGNORECASE)
UNITS = re.compile(r"^\s*(?:[$€£¥]|USD|EUR)?\s*(-?)\s*[$€£¥]?\s*(.*?)\s*(?:[$€£¥]|USD|EUR)?\s*\.?\s*$", re.DOTALL)
MIXED = re.compile(r"^(\d+)\s+(\d+)/(\d+)$")


def extract(text: str) -> str:
    """Return what the last marker holds, or the whole text where there is none.

    >>> extract("So ### ANSWER: 72 ###"), extract(" 72 ")
    ('72', '72')
    """
    found = MARKER.findall(text)
    return (found[-1] if found else text).strip()


def readings(text: str) -> set[Fraction]:
    """Return the numbers that an answer may mean: none where it is none, two where it is per cent.

    Signs of currency and a full stop at the end are no part of it; thousands may be set off by commas.

    >>> sorted(readings("50%")), readings("$1,000."), readings("1 1/2"), readings("nan")
    ([Fraction(1, 2), Fraction(50, 1)], {Fraction(1000, 1)}, {Fraction(3, 2)}, set())
    """
    sign, bare = UNITS.fullmatch(text).groups()  # type: ignore[union-attr] - it fits every text
    is_percent = bare.endswith("%")
    bare = sign + MIXED.sub(r"(\1+\2/\3)", bare.removesuffix("%").strip())
    try:
        value = evaluate(bare)
    except NotANumber:
        return set()
    return {value, value / 100} if is_percent else {value}


def exact_match(answer: str, gold: str) -> bool:
    """Tell whether an answer is the gold number, however it is written.

    >>> exact_match("3/4", "0.75"), exact_match("1e3", "1,000"), exact_match("-0", "0"), exact_match("199", "200")
    (True, True, True, False)
    """
    return bool(readings(answer) & readings(gold))


def close_match(answer: str, gold: str, tolerance: Fraction = TOLERANCE) -> bool:
    """Tell whether an answer lies within a relative distance of the gold number; of 0 only 0 does.

    >>> close_match("199", "200"), close_match("197", "200")
    (True, False)
    """
    return any(abs(said - wanted) <= tolerance * abs(wanted) for said in readings(answer) for wanted in readings(gold))
