"""What is taken out of spans, and what is left as it is."""

import json
import random

import pytest

from otel_exporter.redaction import Redactor, redactor

EMAIL = "Alice.Smith@example.com"
CARD = "4111 1111 1111 1111"
KEY = "sk-proj-abcdefGHIJKL0123456789"
IBAN = "DE89 3704 0044 0532 0130 00"
PHONE = "+1 415 555 2671"


def test_each_kind_becomes_a_placeholder_of_its_kind() -> None:
    """The text around it stays as it was."""
    text = f"Mail {EMAIL}, pay {CARD} or {IBAN}; call {PHONE} (SSN 078-05-1120), key {KEY}."

    kinds = [part.split("_")[0] for part in Redactor().text(text).split("<")[1:]]

    assert kinds == ["EMAIL", "CARD", "IBAN", "PHONE", "SSN", "KEY"]


def test_one_person_has_one_placeholder_however_it_is_written() -> None:
    """Case, blanks and dashes, JSON and URLs make no difference; and another process says the same."""
    redact = Redactor(key="k").text
    emails = {
        redact(EMAIL),
        redact(EMAIL.lower()),
        json.loads(redact(json.dumps([EMAIL])))[0],
        redact("alice.smith%40example.com"),
    }
    cards = {redact(CARD), redact(CARD.replace(" ", "")), redact(CARD.replace(" ", "-"))}
    phones = {redact(PHONE), redact("(415) 555-2671"), redact("415-555-2671")}

    assert [len(emails), len(cards), len(phones)] == [1, 1, 1]
    assert Redactor(key="k").text(EMAIL) == redact(EMAIL)
    assert Redactor(key="other").text(EMAIL) != redact(EMAIL)


@pytest.mark.parametrize(
    "text",
    [
        "chatcmpl-9f8e7d6c5b4a39281706",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "1764486599000000000",
        "2026-11-30T07:37:45Z",
        "Version 10.2.33 costs 1,299.00 for 3 to 4 people",
        '{"max_tokens": 100, "id": 12345678, "nextPageToken": "Cg4IARI"}',
        "def f(x): return x @ y",
        '{"type": "object", "properties": {"password": {"type": "string"}, "secret": {"$ref": "#/a"}}}',
        '{"tools": [{"name": "login", "parameters": {"required": ["password"]}}]}',
        "The basic secret of cookies is butter: £5 @ 3pm, says sk-learn",
    ],
)
def test_what_is_neither_secret_nor_personal_is_the_same_object(text: str) -> None:
    """Ids, instants, amounts, code and descriptions of tools stay as they are."""
    assert Redactor().text(text) is text


def test_fields_with_telling_names_go_whatever_they_hold() -> None:
    """In JSON, in JSON within JSON, under attributes, in code and in configuration files."""
    arguments = json.dumps({"user": "bob", "password": "correct horse", "pin": {"apiKey": 12345}})
    messages = json.dumps([{"role": "assistant", "tool_calls": [{"arguments": arguments}]}])
    parts, num = Redactor().span(
        {
            "gen_ai.input.messages": messages,
            "http.request.header.authorization": "Bearer abc.def",
            "x": "DB_PASSWORD=tr0ub4dor",
        }
    )
    said = json.dumps(parts)

    assert num == parts[0]["spanloop.redacted"] == 3
    assert not [secret for secret in ("correct horse", "12345", "abc.def", "tr0ub4dor") if secret in said]
    inner = json.loads(json.loads(parts[0]["gen_ai.input.messages"])[0]["tool_calls"][0]["arguments"])
    assert inner["user"] == "bob"
    assert inner["password"].startswith("<SECRET_")


def test_a_secret_that_a_name_gave_away_goes_everywhere_on_the_span() -> None:
    """The model repeats it in prose, an event in JSON within JSON."""
    secret = 'tr0ub4"dor'
    parts, _ = Redactor().span(
        {"request": json.dumps({"password": secret}), "answer": f"Your password is {secret} now"},
        {"body": json.dumps({"text": json.dumps({"said": secret})})},
    )

    assert "ub4" not in json.dumps(parts)
    assert parts[0]["answer"].split()[3] == json.loads(parts[0]["request"])["password"]


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_cut_and_embedded_json_is_redacted_and_its_escapes_stay_whole(cut: int) -> None:
    """An attribute that was cut in the middle, and JSON within prose, are no JSON and hold secrets all the same."""
    whole = json.dumps({"a": f"to\n{EMAIL}\nor {KEY}", "password": "hunter22", "b": "x" * 60})[:-cut]

    for text in (whole, f"Result: {whole}", json.dumps({"r": f"Result: {whole}"})):
        said = Redactor().text(text)
        assert "example.com" not in said
        assert "hunter22" not in said
        assert KEY not in said
    assert "to\\n<EMAIL" in Redactor().text(whole)


def test_letters_written_as_numbers_hide_nothing() -> None:
    """JSON may write any letter by its number."""
    text = '{"to": "alice\\u0040example.com", "pass\\u0077ord": "hunter22"}'

    for one in (text, text[:-2]):
        said = Redactor().text(one)
        assert "alice" not in said
        assert "hunter" not in said


def test_redacting_twice_changes_nothing_more() -> None:
    """Agent and receiver may both redact."""
    text = json.dumps({"mail": f"{EMAIL} {CARD}", "password": "hunter22", "note": f"token={KEY}"})
    once = Redactor().text(text)

    assert Redactor().text(once) is once


def test_token_ids_go_with_the_text_they_spell() -> None:
    """They say what was redacted; a span whose text was clean keeps them, one without text to look at does not."""
    ids = {"spanloop.prompt.token_ids": (1, 2), "spanloop.choice.0.logprobs": (-0.5,)}
    body = json.dumps({"prompt_token_ids": [1, 2], "logprobs": True, "text": EMAIL})

    clean, _ = Redactor().span({**ids, "gen_ai.input.messages": "[]"})
    redacted, _ = Redactor().span({**ids, "gen_ai.input.messages": f'["{EMAIL}"]', "spanloop.response.body": body})
    bare, _ = Redactor().span(ids)

    assert clean[0] == {**ids, "gen_ai.input.messages": "[]"}
    assert set(redacted[0]) == {"gen_ai.input.messages", "spanloop.response.body", "spanloop.redacted"}
    assert json.loads(redacted[0]["spanloop.response.body"])["prompt_token_ids"] is None
    assert json.loads(redacted[0]["spanloop.response.body"])["logprobs"] is True
    assert bare[0] == {}


def test_names_of_fields_that_are_addresses_go_too() -> None:
    """A tool's result is often keyed by person."""
    assert EMAIL not in Redactor().text(json.dumps({EMAIL: {"age": 3}}))


def test_ten_thousand_planted_secrets_are_gone() -> None:
    """Of every kind, in prose, JSON, JSON within JSON, URLs and assignments, beside all scripts."""
    chance = random.Random(15)
    redact = Redactor()
    missed = []
    for number in range(10_000):
        secret = _secret(chance, number)
        wrapped = _wrapped(chance, secret)
        if secret in json.dumps(redact.span({"gen_ai.input.messages": wrapped})[0], ensure_ascii=False).replace(
            "\\", ""
        ):
            missed.append((secret, wrapped))

    assert missed == []


def test_settings_that_make_no_sense_are_refused() -> None:
    """Spans with secrets are worse than no spans."""
    assert redactor({}, "X_") is None
    assert redactor({"X_REDACT": "off"}, "X_") is None
    own = redactor({"X_REDACT": "key", "X_REDACT_PATTERN_TICKET": r"T-\d+", "X_REDACT_NAMES": "badge-no"}, "X_")
    assert own is not None
    assert own.text(f"T-4711 of {EMAIL}").startswith("<TICKET_")
    assert own.text(f"T-4711 of {EMAIL}").endswith(EMAIL)
    assert "4711" not in own.text('{"badgeNo": "A4711"}')
    for wrong in ({"X_REDACT": "emails"}, {"X_REDACT_PATTERN_A": "("}, {"X_REDACT_PATTERN_a": "b"}):
        with pytest.raises(ValueError, match=r"no such kind|no regular expression|capital letters"):
            redactor(wrong, "X_")


def _secret(chance: random.Random, number: int) -> str:
    word = "".join(chance.choice("abcdefghjkmnpqrstuvwxyz") for _ in range(8))
    digits = "".join(chance.choice("0123456789") for _ in range(15))
    match number % 5:
        case 0:
            return f"{word}.{number}@{word[:4]}.example.com"
        case 1:
            return _card("4" + digits[:14])
        case 2:
            return f"sk-{word}{digits}{word}"
        case 3:
            return f"ghp_{word}{digits}{word}{word}"
        case _:
            return f"+49 {digits[:3].replace('0', '1')} {digits[3:10]}"


def _card(start: str) -> str:
    for last in "0123456789":
        doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(start + last))]
        if sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0:
            return start + last
    raise AssertionError


def _wrapped(chance: random.Random, secret: str) -> str:
    inner = chance.choice(
        [
            f"Please use {secret}, thanks",
            secret,
            f"Ünïcode: {secret}\nnext line",
            f"[{secret}]({secret})",
            f"请用 {secret} 吧",
            f"'{secret}'",
            f"<{secret}>",
            f"a={secret};b=1",
            f"first\t{secret}\tlast",
            f"https://x.example/?q={secret.replace(' ', '')}&r=1 {secret}",
        ]
    )
    match chance.randrange(4):
        case 0:
            return inner
        case 1:
            return json.dumps([{"role": "user", "parts": [{"content": inner}]}])
        case 2:
            return json.dumps({"arguments": json.dumps({"text": inner})}, ensure_ascii=False)
        case _:
            return f"Tool said: {json.dumps({'text': inner})}"


def test_what_was_seen_before_changes_nothing() -> None:
    """A prompt holds the one before; whatever is remembered of it, the next says what it would have said alone."""
    choice = random.Random(5)
    planted = [EMAIL, CARD, KEY, IBAN, PHONE, '{"password": "hunter22"}', "https://bob:hunter22@x.org", "hunter22"]
    used = Redactor()
    for _ in range(20):
        history: list[dict[str, str]] = []
        for _ in range(6):
            words = ["parcel"] * choice.randrange(400)
            if choice.random() < 0.3:
                words.insert(choice.randrange(len(words) + 1), choice.choice(planted))
            history.append({"role": "user", "content": " ".join(words)})
            attributes = {"gen_ai.input.messages": json.dumps(history), "note": history[-1]["content"]}

            assert used.span(attributes) == Redactor().span(attributes)
