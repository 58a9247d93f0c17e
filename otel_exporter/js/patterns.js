// Written by `make docs` from otel_exporter/sensitive.py and redaction.py: source and flags of patterns.

export const KINDS = ["KEY", "SECRET", "EMAIL", "CARD", "IBAN", "SSN", "PHONE"];

export const PATTERNS = {
  ASSIGNED: ["(?:password|passwd|passphrase|pwd|secret|api[_. -]?key|access[_. -]?key|private[_. -]?key|secret[_. -]?key|signing[_. -]?key|encryption[_. -]?key|authorization|cookie|credentials?|cvv|cvc|ssn|(?:access|refresh|auth|bearer|session|csrf|xsrf|id|api|device|bot|user|security)[_. -]?token)(?:s|[_-]?(?:value|text|header|confirm|confirmation|\\p{Nd}{1,3}))?\\\\{0,4}[\"']?\\s{0,4}(?:=>|[=:])\\s{0,4}(?:(?:bearer|basic)\\s{1,4})?(?:\"((?:[^\"\\\\]|\\\\.){1,4000})|\\\\{1,4}\"((?:[^\"\\\\]|\\\\(?!\\\\{0,8}\")){1,4000})|'([^'\\n]{1,4000})|(?![\\[{(\"'\\\\])([^\\s\"'<,;(){}\\[\\]\\\\]{3,})(?![\\p{L}\\p{N}_(\\[]))", "giu"],
  AT: ["@|%40", "gu"],
  AUTHORIZATION: ["(?:bearer|basic|token)\\s+", "giu"],
  CONTENT: ["message|prompt|completion|input|output|body|content|text|choice", "giu"],
  CONTENT_ONLY: ["messages|body$", "giu"],
  DIGITS: ["(?<![0-9A-Za-z])\\p{Nd}(?:[ \\u00a0-]?\\p{Nd}){11,}(?![0-9A-Za-z])|(?<=\\\\[nrtbf])\\p{Nd}(?:[ \\u00a0-]?\\p{Nd}){11,}", "gu"],
  DOMAIN: ["(?:[A-Za-z\u00c0-\u04ff0-9][A-Za-z\u00c0-\u04ff0-9-]{0,62}\\.)+[A-Za-z\u00c0-\u04ff]{2,24}", "gu"],
  EVIDENCE: ["token_?ids|logprobs?(?:$|[^a-z])", "giu"],
  HARMLESS_TOKEN: ["(?:^|_)(?:next|page|continuation|stop|eos|bos|pad|unk|sep|cls|mask|special|next_page)_token$", "gu"],
  HEX_ESCAPE: ["\\\\u00([2-7][0-9a-fA-F])", "gu"],
  HUMP: ["(?<=[a-z0-9])(?=[A-Z])", "gu"],
  IBAN: ["(?:(?<![A-Za-z0-9])|(?<=\\\\[nrtbf]))[A-Z]{2}\\p{Nd}{2}(?:[ ]?[A-Z0-9]{1,4}){3,8}", "gu"],
  IN_URL: ["://[^\\s/:@\"'<]{1,100}:([^\\s/@\"'<]{1,200})@", "gu"],
  KEY: ["(?:(?<![A-Za-z0-9])|(?<=\\\\[nrtbf]))(?:sk-[\\w-]{12,}|[srp]k_(?:live|test)_\\w{10,}|gh[pousr]_\\w{20,}|github_pat_\\w{20,}|glpat-[\\w-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\\w-]{30,}|ya29\\.[\\w-]{20,}|xox[abeoprs]-[\\w-]{10,}|xapp-[\\w-]{10,}|hf_\\w{20,}|npm_\\w{30,}|pypi-[\\w-]{30,}|SG\\.[\\w-]{16,}\\.[\\w-]{16,}|eyJ[\\w-]{8,}\\.[\\w-]{8,}(?:\\.[\\w-]*)?|sl_[A-Za-z0-9]{4,}_[\\w-]{20,}|shpat_\\w{20,}|lin_api_\\w{20,}|nvapi-[\\w-]{20,}|gsk_\\w{20,}|xai-\\w{20,}|r8_\\w{20,}|tvly-[\\w-]{16,}|pplx-\\w{20,}|dop_v1_\\w{30,}|AGE-SECRET-KEY-\\w{20,}|hooks\\.slack\\.com/services/[\\w/]{20,})", "gu"],
  LOCAL_BACKWARDS: ["[A-Za-z\u00c0-\u04ff0-9._%+-]+(?:'[A-Za-z\u00c0-\u04ff0-9._%+-]+)*", "gu"],
  NO_WORD: ["[^a-z0-9]+", "gu"],
  PHONE: ["(?<!\\p{Nd})\\+\\p{Nd}{1,15}(?:[ .\\u00a0-]?\\(\\p{Nd}{1,4}\\)\\p{Nd}{0,8}|[ .\\u00a0-]\\p{Nd}{2,8}){0,6}(?!\\p{Nd})|(?<![\\p{Nd}.-])(?:\\(\\p{Nd}{3}\\)[ ]?|\\p{Nd}{3}[ .-])\\p{Nd}{3}[ .-]\\p{Nd}{4}(?![\\p{Nd}-])", "gu"],
  PLACEHOLDER: ["<[A-Z][A-Z0-9_]{0,30}_\\p{Nd}{1,6}>", "gu"],
  PRIVATE_KEY: ["-----BEGIN [A-Z ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z ]{0,40}-----|$)", "gsu"],
  SCHEME: ["\\b(?:bearer|basic)\\s{1,4}(?=[^\\s\"']{0,400}\\d)([\\w.~+/=-]{16,})", "giu"],
  SECRET_NAME: ["(?:^|_|[a-z0-9])(?:password|passwd|passphrase|pwd|secret|api_?key|access_?key|private_?key|secret_?key|signing_?key|encryption_?key|authorization|cookie|credentials?|cvv|cvc|ssn|(?:access|refresh|auth|bearer|session|csrf|xsrf|id|api|device|bot|user|security)_?token|secrets|passwords|cookies)(?:_(?:value|text|hash|header|confirm|confirmation|[0-9]{1,3}))?$|(?:^|_)token$", "gu"],
  SSN: ["(?<![\\p{Nd}-])(?!000|666|9)\\p{Nd}{3}-(?!00)\\p{Nd}{2}-(?!0000)\\p{Nd}{4}(?![\\p{Nd}-])", "gu"],
};
