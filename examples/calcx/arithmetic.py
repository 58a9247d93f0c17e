"""Works out what a text of numbers, + - * / ^ and brackets amounts to, exactly and within bounds. Nothing is evaluated.

Both the calculator and the grader use it.
"""

import re
from fractions import Fraction

MAX_CHARS = 200
MAX_DEPTH = 20
MAX_EXPONENT = 64
"""Of a power; of a number such as 1e30 too."""

MAX_DIGITS = 400
"""Of numerator and denominator of anything on the way: more is an error before it is memory."""

NUMBER = re.compile(
    r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE](?P<exponent>[+-]?\d{1,4}))?(?![\w.])", re.ASCII
)
SIGNS = str.maketrans("\u00d7\u00b7\u22c5\u00f7\u2212\u2013\u2044\u00a0", "***/--/ ")
"""Multiplication, division, minus, dash, fraction slash and hard space as they are typeset."""


class NotANumber(ValueError):
    """A text that is no arithmetic, or too much of it."""


def evaluate(text: str) -> Fraction:
    """Return the exact value of an expression. Raises `NotANumber` for anything else, division by zero included.

    >>> evaluate("1,000 / (3 - 1)"), evaluate("2^3 - 1e1"), evaluate("-0.5 * -4")
    (Fraction(500, 1), Fraction(-2, 1), Fraction(2, 1))
    """
    if len(text) > MAX_CHARS:
        raise NotANumber(f"the expression has more than {MAX_CHARS} characters")
    reader = _Reader(text.translate(SIGNS).replace("**", "^").strip())
    value = reader.sum(0)
    if reader.rest:
        raise NotANumber(f"this is not understood: {reader.rest[:20]!r}")
    return value


class _Reader:
    """Reads an expression from the left, by the usual precedence; powers bind to the right."""

    def __init__(self, text: str) -> None:
        self.rest = text

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while sign := self._take("+-"):
            other = self._product(depth)
            value = _bounded(value + other if sign == "+" else value - other)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while sign := self._take("*/"):
            other = self._signed(depth)
            if sign == "/" and not other:
                raise NotANumber("division by zero")
            value = _bounded(value * other if sign == "*" else value / other)
        return value

    def _signed(self, depth: int) -> Fraction:
        negative = False
        while sign := self._take("+-"):
            negative ^= sign == "-"
        value = self._power(depth)
        return -value if negative else value

    def _power(self, depth: int) -> Fraction:
        value = self._atom(depth)
        if not self._take("^"):
            return value
        exponent = self._signed(depth + 1)
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or (not value and exponent < 0):
            raise NotANumber(f"powers are whole and at most {MAX_EXPONENT}")
        if (
            len(str(value.numerator)) * abs(exponent) > MAX_DIGITS
            or len(str(value.denominator)) * abs(exponent) > MAX_DIGITS
        ):
            raise NotANumber("the number is too large")
        return Fraction(value**exponent.numerator)

    def _atom(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise NotANumber("too many brackets within each other")
        if self._take("("):
            value = self.sum(depth + 1)
            if not self._take(")"):
                raise NotANumber("a bracket is not closed")
            return value
        found = NUMBER.match(self.rest)
        if found is None:
            raise NotANumber(f"a number is missing before {self.rest[:20]!r}" if self.rest else "a number is missing")
        written = found.group()
        if abs(int(found["exponent"] or 0)) > MAX_EXPONENT:
            raise NotANumber("the number is too large")
        self.rest = self.rest[len(written) :].lstrip()
        return _bounded(Fraction(written.replace(",", "")))

    def _take(self, signs: str) -> str:
        if not self.rest or self.rest[0] not in signs:
            return ""
        sign, self.rest = self.rest[0], self.rest[1:].lstrip()
        return sign


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_DIGITS * 3.33:
        raise NotANumber("the number is too large")
    return value


def show(value: Fraction) -> str:
    """Return a number as a calculator shows it: whole, or a decimal of at most 10 digits.

    >>> show(Fraction(391)), show(Fraction(1, 3)), show(Fraction(-5, 2))
    ('391', '0.3333333333', '-2.5')
    """
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"
