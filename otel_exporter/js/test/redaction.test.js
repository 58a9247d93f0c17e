import assert from "node:assert/strict";
import { test } from "node:test";

import { Redactor, redactor } from "../redaction.js";

const EMAIL = "Alice.Smith@example.com";

test("each kind becomes a placeholder of its kind, the same in every spelling", () => {
  const text = `Mail ${EMAIL}, pay 4111 1111 1111 1111 or DE89 3704 0044 0532 0130 00; call +1 415 555 2671, key sk-proj-abcdefGHIJKL0123456789.`;
  const said = new Redactor().text(text);
  assert.deepEqual(said.match(/<[A-Z]+/g), ["<EMAIL", "<CARD", "<IBAN", "<PHONE", "<KEY"]);
  assert.equal(new Redactor().text(said), said);
  const one = new Redactor(undefined, [], [], "k");
  assert.equal(one.text(EMAIL), one.text("alice.smith%40example.com"));
});

test("a secret that a name gave away goes everywhere on the span, and so do token ids", () => {
  const [span, event] = new Redactor().span(
    { request: JSON.stringify({ password: 'tr0ub4"dor', id: 1 }), answer: 'It is tr0ub4"dor now', "x.token_ids": "[1, 2]" },
    { body: JSON.stringify({ text: JSON.stringify({ said: 'tr0ub4"dor' }) }) },
  );
  assert.ok(!JSON.stringify([span, event]).includes("ub4"));
  assert.equal(span["spanloop.redacted"], 3);
  assert.ok(!("x.token_ids" in span));
});

test("what holds nothing stays, and numbers keep their digits", () => {
  for (const text of ["max_tokens = 4096", '{"id": 1234567890123456789, "a": 1.0}', "2026-11-30T07:37:45Z"]) {
    assert.equal(new Redactor().text(text), text);
  }
  assert.match(new Redactor().text(`{"id": 1234567890123456789, "a": 1.0, "to": "${EMAIL}"}`), /^\{"id": 1234567890123456789, "a": 1\.0, "to": "<EMAIL_\d+>"\}$/);
});

test("settings are those of Python, and wrong ones are refused", () => {
  assert.equal(redactor({ X_REDACT: "off" }, "X_"), undefined);
  const own = redactor({ X_REDACT: "key", X_REDACT_PATTERN_TICKET: "T-\\d+", X_REDACT_NAMES: "badge-no" }, "X_");
  assert.match(own.text(`T-4711 of ${EMAIL}`), /^<TICKET_\d+> of Alice/);
  assert.ok(!own.text('{"badgeNo": "A4711"}').includes("4711"));
  for (const wrong of [{ X_REDACT: "emails" }, { X_REDACT: "presidio" }, { X_REDACT_PATTERN_A: "(" }, { X_REDACT_PATTERN_a: "b" }]) {
    assert.throws(() => redactor(wrong, "X_"), /no such kind|Invalid regular expression|capital letters/);
  }
});
