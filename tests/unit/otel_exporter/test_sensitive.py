"""What looks like a secret is found where it stands, and what merely has its letters is left alone."""

import random
import re

import pytest

from otel_exporter import sensitive
from otel_exporter.sensitive import FINDERS, KINDS, is_secret_name, may_hold, normal_form

FOUND = {
    "KEY": ["sk-abcdefghijklmnop1234", "ghp_abcdefghijklmnopqrst", "eyJhbGciOiJI.eyJzdWIiOjF9.sig"],
    "SECRET": ["hunter2secret"],
    "EMAIL": ["ada@example.org", "o'neil.x@mail.example.co.uk", "jürgen@exämple.de"],
    "CARD": ["4111 1111 1111 1111", "5500005555555559"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "SSN": ["123-45-6789"],
    "PHONE": ["+41 44 668 18 00", "(415) 555-2671"],
}  # fmt: skip
AROUND = {"SECRET": "password = {} ;"}

NOT_FOUND = {
    "KEY": ["task-abcdefghijklmnop1234", "AKIA1", "a risk-free-investment-12"],
    "SECRET": ["max_tokens = 4096", "next_page_token: abc", "the password is secret"],
    "EMAIL": ["@decorator", "a@b", "user @ example.org", "1@2"],
    "CARD": ["4111 1111 1111 1112", "0000000000000000", "1234567890123456"],
    "IBAN": ["DE89 3704 0044 0532 0130 01", "AB12"],
    "SSN": ["000-12-3456", "2024-01-0203", "123-45-67890"],
    "PHONE": ["12345678", "2026-11-30 12:00:00", "+12"],
}


def stretches(kind: str, text: str) -> list[str]:
    return [text[start:end] for start, end, found in FINDERS[kind](text) if found == kind]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_what_is_one_is_found_whole(kind: str, text: str) -> None:
    """In a sentence, at either end, and within JSON that stands in a text."""
    said = AROUND.get(kind, "see {} there").format(text)

    assert stretches(kind, said) == [text]
    assert may_hold(said, frozenset({kind}))
    if kind not in AROUND:
        assert stretches(kind, text) == [text]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in NOT_FOUND.items() for text in texts])
def test_what_is_none_is_left_alone(kind: str, text: str) -> None:
    """A check digit that is wrong, a word that begins alike, a date."""
    assert stretches(kind, text) == []


@pytest.mark.parametrize(
    "key",
    [
        *(f"{start}{'aB3dE6gH' * 5}" for start in (
            "sk-", "pk_live_", "sk_test_", "gho_", "ghs_", "github_pat_", "glpat-", "AIza", "ya29.", "xoxb-", "xapp-",
            "hf_", "npm_", "pypi-", "shpat_", "lin_api_", "nvapi-", "gsk_", "xai-", "r8_", "tvly-", "pplx-", "dop_v1_",
            "AGE-SECRET-KEY-", "hooks.slack.com/services/",
        )),
        "AKIAABCDEFGHIJKLMNOP", "ASIAABCDEFGHIJKLMNOP",
        "SG.abcdefghijklmnopqrst.abcdefghijklmnopqrst", "sl_abcd_" + "x" * 24,
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_no_makers_keys_are_passed_over(key: str) -> None:
    """Looking for hints is what makes it fast; each of them has one."""
    assert may_hold(f"it is {key}", frozenset({"KEY"}))
    assert stretches("KEY", f"it is {key}") == [key]


@pytest.mark.parametrize("pattern", [sensitive._ASSIGNED, sensitive._SCHEME, sensitive._IN_URL, sensitive._KEY])
def test_what_a_pattern_finds_is_never_passed_over(pattern: "re.Pattern[str]") -> None:
    """A name and its sign of assignment with blanks, escapes and quotes between, after and before anything at all."""
    choice = random.Random(15)
    pieces = [
        "password", "API-Key", "api key", "access_token", "cvv_value", "Authorization", "Basic ", "bearer", "Passwd",
        "secret_key_header", "max_tokens", "token", "sk-", "_live_", "ghp_", "xoxb-", "eyJ", "AKIA", "hf_", ":", "=",
        "=>", '"', "'", "\\", '\\\\"', "    ", "\n", "://", "://bob:", "@", "hunter22", "a1B2c3D4" * 5, "ü", ".",
        "x" * 70,
    ]  # fmt: skip
    num_found = 0
    for _ in range(5_000):
        text = "".join(choice.choices(pieces, k=choice.randrange(2, 9)))
        if pattern.search(text):
            num_found += 1
            assert may_hold(text, frozenset({"SECRET", "KEY"})), text
    assert num_found > 20


def test_every_kind_has_its_finder() -> None:
    """In the order in which one stretch is taken for one of them."""
    assert tuple(FINDERS) == KINDS


def test_names_of_secrets_are_known_in_any_spelling() -> None:
    """Further ones can be given; counts of tokens and marks of pages are none."""
    for name in (
        "PASSWORD",
        "db.password",
        "x-api-key",
        "apiKey",
        "client_secret",
        "refreshToken",
        "token",
        "Set-Cookie",
    ):
        assert is_secret_name(name), name
    for name in ("max_tokens", "tokens", "eos_token", "nextPageToken", "keyboard", "secretary", "primary_key"):
        assert not is_secret_name(name), name
    assert is_secret_name("patient.number", frozenset({"number"}))


def test_one_thing_in_two_spellings_is_one() -> None:
    """So that it gets one placeholder."""
    for kind, one, other in (
        ("EMAIL", "Ada@Example.org", "ada%40example.org"),
        ("CARD", "4111 1111 1111 1111", "4111111111111111"),
        ("IBAN", "DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("PHONE", "+1 (415) 555-2671", "415-555-2671"),
    ):
        assert normal_form(kind, one) == normal_form(kind, other)
    assert normal_form("KEY", "sk-A") != normal_form("KEY", "sk-a")
