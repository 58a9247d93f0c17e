// Takes secrets and personal data out of what a span says, before it leaves the agent. No dependencies.
// What otel_exporter/redaction.py finds, and the placeholders it gives: the patterns are generated from its own.

import { KINDS, PATTERNS } from "./patterns.js";

const MAX_DEPTH = 12;
const REMEMBERED_CHARACTERS = 1 << 20;
const SCHEMA_TYPES = new Set(["string", "number", "integer", "boolean", "object", "array", "null"]);
const NUMBER = "\u0000number:"; // how a number of JSON is told that JavaScript would not write as it stood there

const P = Object.fromEntries(Object.entries(PATTERNS).map(([name, [source, flags]]) => [name, new RegExp(source, flags)]));

// Return a redactor as variables ask for it, undefined where they ask for none. Throws for what makes no sense.
export function redactor(environment, prefix) {
  const list = (name) => (environment[prefix + name] ?? "").split(",").map((one) => one.trim()).filter(Boolean);
  const asked = list("REDACT").map((one) => one.toLowerCase()).filter((one) => one !== "off");
  const names = list("REDACT_NAMES");
  const start = `${prefix}REDACT_PATTERN_`;
  const patterns = Object.entries(environment).filter(([name, value]) => name.startsWith(start) && value)
    .map(([name, value]) => [name.slice(start.length), value]);
  if (!asked.length && !names.length && !patterns.length) return undefined;
  const kinds = asked.includes("all") ? [...KINDS] : asked.map((one) => one.toUpperCase());
  if (names.length) kinds.push("SECRET");
  const unknown = kinds.filter((kind) => !KINDS.includes(kind));
  if (unknown.length) {
    throw new Error(`${prefix}REDACT: ${unknown.join(", ").toLowerCase()}: no such kind; here there are ${KINDS.join(", ").toLowerCase()}`);
  }
  return new Redactor(kinds, patterns, names, environment[`${prefix}REDACT_KEY`] ?? "");
}

export class Redactor {
  constructor(kinds = KINDS, patterns = [], names = [], key = "") {
    this.finders = KINDS.filter((kind) => kinds.includes(kind)).map((kind) => FINDERS[kind]);
    for (const [kind, source] of patterns) {
      if (!/^[A-Z][A-Z0-9_]{0,30}$/.test(kind)) throw new Error(`${kind} is no kind: use capital letters, as in TICKET`);
      const pattern = new RegExp(source, "gu");
      this.finders.unshift((text) => spans(pattern, text, kind));
    }
    this.namesSecrets = kinds.includes("SECRET");
    this.names = names.map((name) => name.toLowerCase().replace(/[-.]/g, "_"));
    this.key = key ? blake2b(Buffer.from(key), 32) : Buffer.alloc(0);
    this.space = key ? 1_000_000n : 10_000n;
    this.lookedAt = new Map();
    this.room = REMEMBERED_CHARACTERS;
  }

  text(text) {
    return this.lookAt(text, new Map(), 0);
  }

  // The attributes of a span and of each of its events, redacted; the first is told how many values changed.
  span(...parts) {
    const named = new Map();
    let done = parts.map((part) => this.within(part, named));
    if (named.size) done = done.map((part) => replaced(part, named));
    let changed = 0;
    parts.forEach((part, at) => {
      const after = Object.values(done[at]);
      Object.values(part).forEach((value, place) => (changed += Number(!same(value, after[place]))));
    });
    const all = parts.flatMap((part) => Object.entries(part));
    if (changed || (all.some(([key, value]) => isEvidence(key, value)) && !all.some(([key, value]) => isContent(key, value)))) {
      done = done.map(withoutEvidence);
    }
    if (changed && done.length) {
      const before = parts[0]["spanloop.redacted"];
      done[0]["spanloop.redacted"] = changed + (Number.isInteger(before) ? before : 0);
    }
    return done;
  }

  placeholder(kind, text) {
    const digest = blake2b(Buffer.from(`${kind}\0${normalForm(kind, text)}`), 64, this.key);
    return `<${kind}_${(digest.readBigUInt64BE() % this.space) + 1n}>`;
  }

  within(object, named, depth = 0) {
    return Object.fromEntries(
      Object.entries(object).map(([key, value]) => [this.name(key), this.value(key, value, named, depth)]),
    );
  }

  value(key, value, named, depth) {
    if (value === null || value === undefined || typeof value === "boolean" || isEvidence(key, value)) return value;
    if (key && this.isSecret(key)) return this.secret(value, named, depth);
    if (typeof value === "string") {
      return value.startsWith(NUMBER) ? this.number(value, value.slice(NUMBER.length)) : this.lookAt(value, named, depth);
    }
    if (typeof value === "number") return this.number(value, String(value));
    if (Array.isArray(value)) return value.map((one) => this.value("", one, named, depth));
    return typeof value === "object" ? this.within(value, named, depth) : value;
  }

  number(value, text) {
    if (!/^-?\d{12,}$/.test(text)) return value;
    const after = this.plain(text);
    return after === text ? value : after;
  }

  secret(value, named, depth) {
    if (Array.isArray(value)) return value.map((one) => this.secret(one, named, depth));
    if (value === null || value === undefined || typeof value === "boolean" || value === "") return value;
    if (typeof value === "object") {
      if (isSchema(value)) return this.value("", value, named, depth);
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.secret(one, named, depth)]));
    }
    let text = String(value);
    if (text.startsWith(NUMBER)) text = text.slice(NUMBER.length);
    else if (typeof value === "string" && depth < MAX_DEPTH && /^\s*[{[]/.test(text)) {
      const parsed = parse(text);
      if (parsed !== undefined) return dump(this.secret(parsed, named, depth + 1));
    }
    const scheme = matchAtStart(P.AUTHORIZATION, text) ?? "";
    text = text.slice(scheme.length);
    if (!text || matchAtStart(P.PLACEHOLDER, text) === text) return value;
    const whole = this.found(text).find(([start, end]) => start === 0 && end === text.length);
    const after = this.placeholder(whole ? whole[2] : "SECRET", text);
    if (text.length >= 12 || (text.length >= 6 && !/^\p{L}+$/u.test(text))) named.set(text, after);
    return scheme + after;
  }

  lookAt(text, named, depth) {
    if (text.length < 4) return text;
    const known = this.lookedAt.get(`${depth}:${text}`);
    if (known !== undefined) return known;
    const here = new Map();
    const after = this.lookInto(text, here, depth);
    if (here.size) for (const [secret, placeholder] of here) named.set(secret, placeholder);
    else this.remember(`${depth}:${text}`, after);
    return after;
  }

  remember(key, after) {
    if (key.length > REMEMBERED_CHARACTERS / 16) return;
    if (key.length > this.room) {
      this.lookedAt.clear();
      this.room = REMEMBERED_CHARACTERS;
    }
    this.lookedAt.set(key, after);
    this.room -= key.length;
  }

  lookInto(text, named, depth) {
    if (depth < MAX_DEPTH && /^\s*[{["]/.test(text)) {
      const parsed = parse(text);
      if (parsed !== undefined) {
        const after = this.value("", parsed, named, depth + 1);
        return same(parsed, after) ? text : dump(after);
      }
      text = text.replace(P.HEX_ESCAPE, (whole, hex) => {
        const character = String.fromCharCode(parseInt(hex, 16));
        return character === '"' || character === "\\" ? whole : character;
      });
    }
    return this.plain(text);
  }

  plain(text) {
    const found = this.found(text);
    if (!found.length) return text;
    let said = "";
    let at = 0;
    for (const [start, end, kind] of found) {
      said += text.slice(at, start) + this.placeholder(kind, text.slice(start, end));
      at = end;
    }
    return said + text.slice(at);
  }

  // What was found, in order, none over another, of two that overlap the first kind; nothing that is a placeholder.
  found(text) {
    let taken = [];
    const kept = spans(P.PLACEHOLDER, text, "");
    for (const finder of this.finders) {
      let last = 0;
      const added = [];
      for (const one of [...finder(text)].sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
        const [start, end] = one;
        if (start >= end || start < last || [...taken, ...kept].some(([a, b]) => a < end && start < b)) continue;
        added.push(one);
        last = end;
      }
      if (added.length) taken = [...taken, ...added].sort((a, b) => a[0] - b[0]);
    }
    return taken;
  }

  name(name) {
    return /[@\p{Nd}]/u.test(name) ? this.plain(name) : name;
  }

  isSecret(name) {
    if (!this.namesSecrets) return false;
    const words = name.replace(P.HUMP, "_").toLowerCase().replace(P.NO_WORD, "_").replace(/^_+|_+$/g, "");
    if (this.names.some((one) => words === one || words.endsWith(`_${one}`))) return true;
    return (has(P.SECRET_NAME, words) || words.endsWith("_token")) && !has(P.HARMLESS_TOKEN, words);
  }
}

// --- finders: (start, end, kind) of what stands in a text

const FINDERS = {
  KEY: (text) => [...spans(P.KEY, text, "KEY"), ...spans(P.PRIVATE_KEY, text, "KEY")],
  SECRET: (text) => [
    ...lastGroups(P.IN_URL, text), ...lastGroups(P.SCHEME, text), ...(/[:=]/.test(text) ? lastGroups(P.ASSIGNED, text) : []),
  ],
  EMAIL: emails,
  CARD: cards,
  IBAN: ibans,
  SSN: (text) => spans(P.SSN, text, "SSN"),
  PHONE: (text) => spans(P.PHONE, text, "PHONE").filter(([start, end]) => {
    const { length } = digitsOf(text.slice(start, end));
    return length >= 8 && length <= 15;
  }),
};

function spans(pattern, text, kind) {
  return Array.from(text.matchAll(pattern), (match) => [match.index, match.index + match[0].length, kind]);
}

function lastGroups(pattern, text) {
  pattern.withGroups ??= new RegExp(pattern.source, `${pattern.flags}d`);
  return Array.from(text.matchAll(pattern.withGroups), (match) => {
    const [start, end] = match.indices.findLast((one) => one !== undefined);
    return [start, end, "SECRET"];
  });
}

function emails(text) {
  const found = [];
  for (const sign of text.matchAll(P.AT)) {
    const before = [...text.slice(Math.max(0, sign.index - 64), sign.index)].reverse().join("");
    const local = matchAtStart(P.LOCAL_BACKWARDS, before);
    const after = sign.index + sign[0].length;
    const domain = local && matchAtStart(P.DOMAIN, text.slice(after, after + 255));
    if (!domain) continue;
    let start = sign.index - local.length;
    if (start && text[start - 1] === "\\") start += text[start] === "u" && sign.index - start > 5 ? 5 : 1;
    while (start < sign.index && "._%+-".includes(text[start])) start += 1;
    if (start < sign.index) found.push([start, after + domain.length, "EMAIL"]);
  }
  return found;
}

function cards(text) {
  const found = [];
  for (const match of text.matchAll(P.DIGITS)) {
    const groups = Array.from(match[0].matchAll(/\p{Nd}+/gu), (one) => [one.index, one.index + one[0].length]);
    for (let at = 0; at < groups.length; at += 1) {
      for (let end = Math.min(at + 19, groups.length); end > at; end -= 1) {
        const [start, stop] = [groups[at][0], groups[end - 1][1]];
        if (stop - start < 13 || stop - start > 40) continue;
        const digits = digitsOf(match[0].slice(start, stop));
        if (digits.length >= 13 && digits.length <= 19 && "23456".includes(digits[0]) && passesLuhn(digits)) {
          found.push([match.index + start, match.index + stop, "CARD"]);
          at = end - 1;
          break;
        }
      }
    }
  }
  return found;
}

function passesLuhn(digits) {
  const doubled = [...digits].reverse().map((digit, at) => Number(digit) * (1 + (at % 2)));
  return doubled.reduce((sum, value) => sum + (value > 9 ? value - 9 : value), 0) % 10 === 0 && new Set(digits).size > 1;
}

function ibans(text) {
  const found = [];
  for (const match of text.matchAll(P.IBAN)) {
    for (let end = match.index + match[0].length; end - match.index >= 15; end -= 1) {
      const account = text.slice(match.index, end).replaceAll(" ", "");
      if (account.length >= 15 && remainder(account.slice(4) + account.slice(0, 4)) === 1) {
        found.push([match.index, end, "IBAN"]);
        break;
      }
    }
  }
  return found;
}

function remainder(account) {
  return [...account].map((one) => parseInt(one, 36)).reduce((left, value) => (left * (value > 9 ? 100 : 10) + value) % 97, 0);
}

function digitsOf(text) {
  return text.replace(/[^\p{Nd}]/gu, "");
}

function normalForm(kind, text) {
  if (kind === "EMAIL") return text.replaceAll("%40", "@").toLowerCase();
  if (["CARD", "SSN", "PHONE"].includes(kind)) {
    const digits = digitsOf(text);
    return kind === "PHONE" && digits.length === 11 && digits[0] === "1" ? digits.slice(1) : digits;
  }
  if (kind === "IBAN") return text.replaceAll(" ", "");
  return kind === "KEY" || kind === "SECRET" ? text : text.toLowerCase().split(/\s+/).filter(Boolean).join(" ");
}

function has(pattern, text) {
  return text.search(pattern) >= 0;
}

function matchAtStart(pattern, text) {
  const found = text.match(pattern.atStart ??= new RegExp(`^(?:${pattern.source})`, pattern.flags.replace("g", "")));
  return found?.[0];
}

// --- token ids and log-probabilities, which spell what was redacted

function isEvidence(key, value) {
  if (!has(P.EVIDENCE, key)) return false;
  if (typeof value === "string") return /^\s*[[{]/.test(value) && !has(P.CONTENT_ONLY, key);
  return typeof value === "object" && value !== null;
}

function isContent(key, value) {
  return typeof value === "string" && value !== "" && !has(P.EVIDENCE, key) && has(P.CONTENT, key);
}

function withoutEvidence(part) {
  const kept = {};
  for (const [key, value] of Object.entries(part)) {
    if (isEvidence(key, value)) continue;
    const parsed = typeof value === "string" && has(P.EVIDENCE, value) && /^\s*[{[]/.test(value) ? parse(value) : undefined;
    if (parsed === undefined) kept[key] = typeof value === "object" ? bare(value) : value;
    else {
      const after = bare(parsed);
      kept[key] = same(parsed, after) ? value : dump(after);
    }
  }
  return kept;
}

function bare(value) {
  if (Array.isArray(value)) return value.map(bare);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, isEvidence(key, one) ? null : bare(one)]));
}

// --- values

function isSchema(value) {
  const kinds = Array.isArray(value.type) ? value.type : [value.type];
  return kinds.every((one) => typeof one === "string" && SCHEMA_TYPES.has(one.toLowerCase()))
    || ["$ref", "anyOf", "oneOf", "allOf", "enum", "const"].some((name) => Object.hasOwn(value, name));
}

// A value with secrets that were found by their names replaced in it, in whatever escaping.
function replaced(value, named) {
  if (typeof value === "string") {
    for (const [secret, placeholder] of named) {
      let form = secret;
      for (let times = 0; times < 3; times += 1) {
        value = value.replaceAll(form, () => placeholder);
        const escaped = JSON.stringify(form).slice(1, -1);
        if (escaped === form) break;
        form = escaped;
      }
    }
    return value;
  }
  if (Array.isArray(value)) return value.map((one) => replaced(one, named));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, replaced(one, named)]));
}

function same(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  const [keys, others] = [Object.keys(one), Object.keys(other)];
  return keys.length === others.length && keys.every((key, at) => key === others[at] && same(one[key], other[key]));
}

// JSON whose numbers keep the digits they have: 64-bit ids, and card numbers of 19 digits.
function parse(text) {
  try {
    JSON.parse(text);
    const token = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
    return JSON.parse(text.replace(token, (one) => (one[0] === '"' || String(Number(one)) === one ? one : JSON.stringify(NUMBER + one))));
  } catch {
    return undefined;
  }
}

// JSON with Python's blanks, so that both write the same.
function dump(value) {
  if (Array.isArray(value)) return `[${value.map(dump).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${dump(one)}`).join(", ")}}`;
  }
  return typeof value === "string" && value.startsWith(NUMBER) ? value.slice(NUMBER.length) : JSON.stringify(value);
}

// --- BLAKE2b (RFC 7693), with a key, which node:crypto has without one alone

const MASK = (1n << 64n) - 1n;
const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const SIGMA = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
].map((row) => Array.from(row, (digit) => parseInt(digit, 16)));
const MIXES = ["048c", "159d", "26ae", "37bf", "05af", "16bc", "278d", "349e"]
  .map((places) => Array.from(places, (digit) => parseInt(digit, 16)));

export function blake2b(message, length, key = Buffer.alloc(0)) {
  const state = [...IV];
  state[0] ^= BigInt(0x01010000 ^ (key.length << 8) ^ length);
  const keyed = key.length ? Buffer.concat([key, Buffer.alloc(128 - key.length), message]) : message;
  for (let at = 0; at === 0 || at < keyed.length; at += 128) {
    const block = Buffer.alloc(128);
    keyed.copy(block, 0, at, at + 128);
    compress(state, block, BigInt(Math.min(at + 128, keyed.length)), at + 128 >= keyed.length);
  }
  const digest = Buffer.alloc(64);
  state.forEach((word, at) => digest.writeBigUInt64LE(word, 8 * at));
  return digest.subarray(0, length);
}

function compress(state, block, count, isLast) {
  const words = Array.from({ length: 16 }, (_, at) => block.readBigUInt64LE(8 * at));
  const v = [...state, ...IV];
  v[12] ^= count;
  if (isLast) v[14] ^= MASK;
  const turn = (word, bits) => ((word >> bits) | (word << (64n - bits))) & MASK;
  for (let round = 0; round < 12; round += 1) {
    const order = SIGMA[round % 10];
    MIXES.forEach(([a, b, c, d], at) => {
      v[a] = (v[a] + v[b] + words[order[2 * at]]) & MASK;
      v[d] = turn(v[d] ^ v[a], 32n);
      v[c] = (v[c] + v[d]) & MASK;
      v[b] = turn(v[b] ^ v[c], 24n);
      v[a] = (v[a] + v[b] + words[order[2 * at + 1]]) & MASK;
      v[d] = turn(v[d] ^ v[a], 16n);
      v[c] = (v[c] + v[d]) & MASK;
      v[b] = turn(v[b] ^ v[c], 63n);
    });
  }
  state.forEach((word, at) => (state[at] = word ^ v[at] ^ v[at + 8]));
}
