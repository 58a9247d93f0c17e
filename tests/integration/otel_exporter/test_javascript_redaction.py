"""The tracker for JavaScript redacts what the one for Python redacts, and with the same placeholders."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from otel_exporter.redaction import Redactor

MODULE = Path(__file__).parents[3] / "otel_exporter" / "js" / "redaction.js"
PROGRAM = """
const { Redactor } = await import(process.argv[1]);
const { key, spans } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const one = new Redactor(undefined, [], [], key);
process.stdout.write(JSON.stringify(spans.map((parts) => one.span(...parts))));
"""
PIECES = (
    "alice.smith@example.com", "o'neil@mail.example.co.uk", "jürgen%40exämple.de", "4111 1111 1111 1111",
    "5500-0055-5555-5559", "4111111111111112", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "123-45-6789",
    "+41 44 668 18 00", "(415) 555-2671", "sk-proj-abcdefGHIJKL0123456789", "AKIAABCDEFGHIJKLMNOP", "max_tokens = 40",
    "password = hunter22", "api key: 'a1b2c3d4e5'", 'Authorization: "Bearer abcdefgh12345678"', "Grüße", "东京", "\\n",
    "basic a1b2c3d4e5f6g7h8i9", "https://bob:hunter22@db.example/x", "2026-11-30T07:37:45Z", "\n", "<EMAIL_12>",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "eyJhbGciOiJI.eyJzdWIiOjF9.sig",
)  # fmt: skip
NAMES = ("gen_ai.input.messages", "x", "db.password", "accessToken", "token_ids", "output.value", "a@example.org")


def texts(chance: random.Random) -> str:
    """Return a text of a few pieces: prose, JSON, JSON within JSON, and JSON that was cut."""
    text = chance.choice([" ", ", ", "", '"']).join(chance.choices(PIECES, k=chance.randrange(1, 5)))
    fields = {"content": text, "password": chance.choice(["tr0ub4dor", {"type": "string"}, 1234567, ""]), "n": 12}
    whole = json.dumps(
        [fields, {"arguments": json.dumps({"to": text, "apiKey": "hunter2hunter2"})}], ensure_ascii=False
    )
    return chance.choice([text, text, whole, whole[: chance.randrange(10, len(whole))], f"Result: {whole}"])


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node 20")
@pytest.mark.parametrize("key", ["", "a key"])
def test_javascript_redacts_as_python_does(key: str) -> None:
    """Of five hundred spans each value is the same."""
    chance = random.Random(15)
    spans = [
        [
            {name: texts(chance) for name in chance.sample(NAMES, k=3)},
            *([{"said": texts(chance)}] * chance.randrange(2)),
        ]
        for _ in range(500)
    ]
    done = subprocess.run(
        ["node", "-e", f"(async () => {{{PROGRAM}}})()", MODULE.as_uri()],
        input=json.dumps({"key": key, "spans": spans}), capture_output=True, text=True, check=True,
    )  # fmt: skip
    redactor = Redactor(key=key)
    num_changed = 0
    for parts, said in zip(spans, json.loads(done.stdout), strict=True):
        expected, num = redactor.span(*parts)
        num_changed += num
        assert said == expected, parts
    assert num_changed > 500
