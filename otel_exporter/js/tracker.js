// Records an agent's model calls where there is no OpenTelemetry: wraps `fetch`, sends OTLP/JSON. No dependencies.
// What it does is what otel_exporter/tracker.py does, with the same names on the same spans.

import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import * as files from "node:fs";
import * as path from "node:path";

import { redactor } from "./redaction.js";

const STAGES = "SPANLOOP_EXPORTER_";
const PREFIX = `${STAGES}OTLP_`;
const MAX_BODY_BYTES = 32 << 20;
const MAX_WAITING_BYTES = 64 << 20;
const EVERY_MS = 1000;
const LAST_RETRY_MS = 30_000;
const RETRYABLE = new Set([429, 502, 503, 504]);
const QUESTIONS = ["messages", "input", "contents", "prompt"];
const JOINING = ["spanloop.episode.id", "gen_ai.conversation.id"];
const EVALUATION = "gen_ai.evaluation.result";
const TRACKED = Symbol.for("spanloop.tracked");

const around = new AsyncLocalStorage();
const plainFetch = globalThis.fetch;

// --- what an agent calls

export function track(fetch) {
  const inner = fetch ?? globalThis.fetch;
  if (inner[TRACKED]) return inner;
  const tracked = Object.assign(async (...call) => listen(inner, call), { [TRACKED]: true });
  if (fetch === undefined) globalThis.fetch = tracked;
  return tracked;
}

export function episode(options, run) {
  const named = {
    "spanloop.episode.id": options?.id, "spanloop.task.id": options?.task,
    "gen_ai.conversation.id": options?.conversation, "spanloop.split": options?.split,
  };
  return within("episode", { ...options?.attributes, ...named }, run);
}

export function agent(name, run) {
  return within(`invoke_agent ${name}`, { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name }, run);
}

export function tool(name, execute) {
  return function (...values) {
    const given = values.length === 1 && isObject(values[0]) ? values[0] : values;
    const attributes = {
      "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.call.arguments": written(given),
    };
    return within(`execute_tool ${name}`, attributes, () => execute.apply(this, values), "gen_ai.tool.call.result");
  };
}

export function annotate(attributes) {
  const span = around.getStore();
  if (span) Object.assign(span.attributes, attributes);
  return span !== undefined;
}

export function reward(value, options = {}) {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    return say(`reward is not recorded: it is not a finite number (${typeof value})`);
  }
  const said = {
    "gen_ai.evaluation.name": options.name ?? "outcome", "gen_ai.evaluation.score.value": { doubleValue: value },
    "gen_ai.evaluation.score.label": options.label, "gen_ai.evaluation.explanation": options.explanation,
  };
  const ids = {
    "gen_ai.response.id": options.responseId, "spanloop.episode.id": options.episodeId,
    "gen_ai.conversation.id": options.sessionId,
  };
  const time = now();
  if (options.traceId === undefined && Object.values(ids).every((id) => id === undefined)) {
    const span = around.getStore();
    if (!span) return say("reward is not recorded: there is no episode around it, and it names nothing");
    span.events.push({ name: EVALUATION, timeUnixNano: time, attributes: said });
    return true;
  }
  const [told] = passed(said) ?? [];
  if (!told) return false;
  const record = { timeUnixNano: time, eventName: EVALUATION, attributes: asAttributes({ ...told, ...ids }) };
  if (options.traceId) record.traceId = options.traceId;
  if (options.spanId) record.spanId = options.spanId;
  put("logs", record, 500);
  return true;
}

export async function flush() {
  clearTimeout(timer);
  timer = undefined;
  await sendAll();
  return waiting.length === 0 && held.length === 0;
}

// --- spans

function begin(name, attributes) {
  const outer = around.getStore();
  const inherited = {};
  for (const key of JOINING) {
    const value = outer?.attributes[key] ?? outer?.inherited[key];
    if (value !== undefined) inherited[key] = value;
  }
  return {
    name, attributes, inherited, events: [], start: now(), error: undefined,
    traceId: outer?.traceId ?? randomBytes(16).toString("hex"), spanId: randomBytes(8).toString("hex"),
    parentId: outer?.spanId,
  };
}

function end(span, kind = 1) {
  const [attributes, ...told] = passed(
    { ...span.inherited, ...span.attributes, "error.type": span.error }, ...span.events.map((event) => event.attributes),
  ) ?? [];
  if (!attributes) return;
  const record = {
    traceId: span.traceId, spanId: span.spanId, name: span.name, kind, startTimeUnixNano: span.start,
    endTimeUnixNano: now(), attributes: asAttributes(attributes),
  };
  if (span.parentId) record.parentSpanId = span.parentId;
  if (told.length) record.events = span.events.map((event, at) => ({ ...event, attributes: asAttributes(told[at]) }));
  if (span.error) record.status = { code: 2, message: span.error };
  const size = Object.values(attributes).reduce((sum, value) => sum + (typeof value === "string" ? value.length : 20), 500);
  put("traces", record, size);
}

// Attributes of a span and of its events as redaction lets them through; undefined where the settings make no sense.
function passed(...parts) {
  try {
    settings ??= readSettings(process.env);
    if (!settings.redactor) return parts;
    return settings.redactor.span(...parts.map((part) => Object.fromEntries(
      Object.entries(part).filter(([, value]) => value !== undefined).map(([key, value]) => [key, asPlain(value)]),
    )));
  } catch (error) {
    say(`nothing goes to Spanloop: ${error?.message}`);
    return undefined;
  }
}

function within(name, attributes, run, resultName) {
  const span = begin(name, attributes);
  const finish = (result) => {
    if (resultName) span.attributes[resultName] = written(result);
    end(span);
    return result;
  };
  const fail = (error) => {
    span.error = error?.name ?? typeof error;
    end(span);
    throw error;
  };
  return around.run(span, () => {
    let result;
    try {
      result = run();
    } catch (error) {
      return fail(error);
    }
    return typeof result?.then === "function" ? result.then(finish, fail) : finish(result);
  });
}

// --- model calls

async function listen(inner, call) {
  const asked = await question(call).catch(() => undefined);
  if (asked === undefined) return inner(...call);
  const model = typeof asked.parsed.model === "string" ? asked.parsed.model : undefined;
  const span = begin(model ? `chat ${model}` : "chat", {
    "gen_ai.request.model": model, "server.address": asked.url.hostname, "url.path": asked.url.pathname,
    "server.port": Number(asked.url.port) || (asked.url.protocol === "https:" ? 443 : 80),
    "spanloop.request.body": asked.body,
  });
  let response;
  try {
    response = await inner(...withTraceparent(call, span));
  } catch (error) {
    span.error = error?.name ?? "Error";
    end(span, 3);
    throw error;
  }
  span.attributes["http.response.status_code"] = response.status;
  if (response.status >= 400) span.error = String(response.status);
  return tapped(response, (pieces, isWhole) => {
    const answer = pieces && readAnswer(Buffer.concat(pieces).toString("utf8"));
    if (answer) span.attributes["spanloop.response.body"] = JSON.stringify(answer);
    if (!isWhole && !(answer && isFinished(answer))) span.attributes["spanloop.response.partial"] = true;
    end(span, 3);
  });
}

async function question([input, init]) {
  const request = input instanceof Request ? input : undefined;
  if ((init?.method ?? request?.method ?? "GET").toUpperCase() !== "POST") return undefined;
  let body = init?.body ?? undefined;
  if (body === undefined && request) body = await request.clone().text();
  if (body instanceof Uint8Array || body instanceof ArrayBuffer) body = Buffer.from(body).toString("utf8");
  if (typeof body !== "string" || body.length > MAX_BODY_BYTES) return undefined;
  if (!QUESTIONS.some((name) => body.includes(`"${name}"`))) return undefined;
  const parsed = JSON.parse(body);
  if (!isObject(parsed) || !QUESTIONS.some((name) => name in parsed)) return undefined;
  return { body, parsed, url: new URL(request?.url ?? String(input)) };
}

function withTraceparent([input, init, ...rest], span) {
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  if (headers.has("traceparent")) return [input, init, ...rest];
  headers.set("traceparent", `00-${span.traceId}-${span.spanId}-01`);
  return [input, { ...init, headers }, ...rest];
}

// The same response with the same bytes, read as the agent reads them: not one byte sooner, and cancelled with it.
function tapped(response, finish) {
  let pieces = [];
  let size = 0;
  let isDone = false;
  const done = (isWhole) => {
    if (isDone) return;
    isDone = true;
    try {
      finish(size <= MAX_BODY_BYTES ? pieces : undefined, isWhole);
    } catch {
      // whatever goes wrong here is not the agent's
    }
    pieces = [];
  };
  if (!response.body) {
    done(true);
    return response;
  }
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { done: isEnd, value } = await reader.read();
        if (isEnd) {
          done(true);
          controller.close();
          return;
        }
        size += value.byteLength;
        if (size <= MAX_BODY_BYTES) pieces.push(Buffer.from(value));
        controller.enqueue(value);
      } catch (error) {
        done(false);
        controller.error(error);
      }
    },
    cancel(reason) {
      done(false);
      return reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
  const { status, statusText, headers, url, redirected, type } = response;
  const same = new Response(body, { status, statusText, headers });
  for (const [name, value] of Object.entries({ url, redirected, type })) Object.defineProperty(same, name, { value });
  return same;
}

// --- answers: what came as a stream, put together to what the same API answers without one

function readAnswer(text) {
  let whole;
  try {
    whole = JSON.parse(text);
  } catch {
    const events = readEvents(text);
    return events.length ? assemble(events) : undefined;
  }
  if (Array.isArray(whole)) return assemble(whole.filter(isObject));
  return isObject(whole) ? whole : undefined;
}

function readEvents(text) {
  const events = [];
  let data = [];
  for (const line of [...text.split(/\r\n|\r|\n/), ""]) {
    if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    else if (line.startsWith("{")) data.push(line);
    if ((line === "" || line.startsWith("{")) && data.length) {
      try {
        const event = JSON.parse(data.join("\n"));
        if (isObject(event)) events.push(event);
      } catch {
        // [DONE], or the half of an event
      }
      data = [];
    }
  }
  return events;
}

function assemble(events) {
  const answer = {};
  const blocks = new Map();
  const items = new Map();
  for (const event of events) {
    if (isObject(event.response)) Object.assign(answer, event.response);
    else if (Array.isArray(event.choices)) mergeChoices(answer, event);
    else if (event.candidates || event.usageMetadata) mergeCandidates(answer, event);
    else if (event.type === "message_start" && isObject(event.message)) Object.assign(answer, event.message);
    else if (event.type === "message_delta") {
      Object.assign(answer, event.delta, { usage: { ...answer.usage, ...event.usage } });
    } else if (event.content_block) blocks.set(event.index, { ...event.content_block });
    else if (event.type === "content_block_delta") {
      if (!blocks.has(event.index)) blocks.set(event.index, {});
      mergeBlock(blocks.get(event.index), event.delta ?? {});
    } else if (isObject(event.item)) items.set(event.output_index, event.item);
    else if (event.error) answer.error = event.error;
  }
  const inOrder = (map) => [...map.entries()].sort(([a], [b]) => a - b).map(([, value]) => value);
  if (blocks.size) answer.content = inOrder(blocks).map(finished);
  if (items.size && !answer.output?.length) answer.output = inOrder(items);
  return Object.keys(answer).length ? answer : undefined;
}

function mergeChoices(answer, event) {
  for (const [key, value] of Object.entries(event)) if (key !== "choices" && value !== null) answer[key] = value;
  if (typeof answer.object === "string") answer.object = answer.object.replace(/\.chunk$/, "");
  answer.choices ??= [];
  for (const piece of event.choices) {
    const index = piece.index ?? 0;
    let choice = answer.choices.find((one) => one.index === index);
    if (!choice) answer.choices.push((choice = { index }));
    for (const [key, value] of Object.entries(piece)) {
      if (key === "delta") mergeDelta((choice.message ??= {}), value ?? {});
      else if (key === "text") choice.text = (choice.text ?? "") + (value ?? "");
      else if (key === "logprobs" && isObject(value)) {
        choice.logprobs ??= {};
        for (const [name, more] of Object.entries(value)) {
          if (Array.isArray(more)) choice.logprobs[name] = [...(choice.logprobs[name] ?? []), ...more];
        }
      } else if (key === "token_ids" && Array.isArray(value)) choice.token_ids = [...(choice.token_ids ?? []), ...value];
      else if (value !== null) choice[key] = value;
    }
  }
}

const NAMES = new Set(["role", "id", "type", "name"]);

function mergeDelta(message, delta) {
  for (const [key, value] of Object.entries(delta)) {
    if (value === null || value === undefined) continue;
    if (key === "tool_calls" && Array.isArray(value)) {
      const calls = (message.tool_calls ??= []);
      for (const { index, ...piece } of value) {
        const place = index ?? (calls.length && !piece.id ? calls.length - 1 : calls.length);
        while (calls.length <= place) calls.push({});
        mergeDelta(calls[place], piece);
      }
    } else if (Array.isArray(value)) message[key] = [...(message[key] ?? []), ...value];
    else if (isObject(value)) mergeDelta((message[key] ??= {}), value);
    else if (typeof value === "string" && !NAMES.has(key)) message[key] = (message[key] ?? "") + value;
    else if (value !== "" || !(key in message)) message[key] = value;
  }
}

function mergeBlock(block, delta) {
  for (const [key, value] of Object.entries(delta)) {
    if (key === "type") block.type ??= { text_delta: "text", thinking_delta: "thinking" }[value] ?? "tool_use";
    else if (key === "citation") (block.citations ??= []).push(value);
    else block[key] = typeof value === "string" ? (block[key] ?? "") + value : value;
  }
}

function finished({ partial_json: input, ...block }) {
  if (!input) return block;
  try {
    return { ...block, input: JSON.parse(input) };
  } catch {
    return { ...block, input };
  }
}

function mergeCandidates(answer, event) {
  for (const [key, value] of Object.entries(event)) if (key !== "candidates") answer[key] = value;
  answer.candidates ??= [];
  (event.candidates ?? []).forEach(({ content, ...piece }, place) => {
    const index = piece.index ?? place;
    while (answer.candidates.length <= index) answer.candidates.push({ content: { parts: [] } });
    const candidate = answer.candidates[index];
    for (const part of content?.parts ?? []) {
      const last = candidate.content.parts.at(-1);
      const isText = (one) => one && "text" in one && Object.keys(one).every((key) => key === "text" || key === "thought");
      if (isText(part) && isText(last) && !part.thought === !last.thought) last.text += part.text;
      else candidate.content.parts.push({ ...part });
    }
    if (content?.role) candidate.content.role = content.role;
    Object.assign(candidate, piece);
  });
}

function isFinished(answer) {
  const pieces = [answer, ...(answer.choices ?? []), ...(answer.candidates ?? [])];
  return ["completed", "incomplete", "failed"].includes(answer.status)
    || pieces.some((piece) => piece.finish_reason ?? piece.finishReason ?? piece.stop_reason);
}

// --- sending

let waiting = [];
let held = [];
let waitingBytes = 0;
let timer;
let retryMs = EVERY_MS;
let sending = Promise.resolve();
let settings;
const hasSaid = new Set();

function put(signal, record, size) {
  if (waitingBytes + size > MAX_WAITING_BYTES) return say("a record is dropped: more waits than fits in memory");
  waiting.push([signal, record]);
  waitingBytes += size;
  later(EVERY_MS);
}

function later(milliseconds) {
  timer ??= setTimeout(() => {
    timer = undefined;
    sendAll();
  }, milliseconds).unref();
}

function sendAll() {
  sending = sending.then(send).catch((error) => say(`nothing goes to Spanloop: ${error?.message}`));
  return sending;
}

async function send() {
  settings ??= readSettings(process.env);
  const batch = { traces: [], logs: [] };
  for (const [signal, record] of waiting) batch[signal].push(record);
  waiting = [];
  waitingBytes = 0;
  for (const [signal, records] of Object.entries(batch)) {
    if (records.length) held.push({ signal, body: encode(signal, records), num: records.length });
  }
  while (held.length) {
    const outcome = await post(held[0].signal, held[0].body);
    if (outcome === "away") return keep();
    if (outcome !== "sent") say(`${held[0].num} records did not reach Spanloop: ${outcome}`);
    held.shift();
  }
  retryMs = EVERY_MS;
}

async function post(signal, body) {
  try {
    const headers = { ...settings.headers, "content-type": "application/json" };
    const signalled = AbortSignal.timeout(settings.timeoutMs);
    const answer = await plainFetch(`${settings.endpoint}/v1/${signal}`, {
      method: "POST", headers, body, redirect: "error", signal: signalled,
    });
    await answer.arrayBuffer();
    if (answer.ok) return "sent";
    return RETRYABLE.has(answer.status) ? "away" : `it answered ${answer.status}`;
  } catch {
    return "away";
  }
}

function keep() {
  say(`${settings.endpoint} is away${settings.spool ? `; what happens meanwhile is kept in ${settings.spool}` : ""}`);
  if (settings.spool) {
    for (const { signal, body, num } of held) {
      try {
        spool(signal, body);
      } catch (error) {
        say(`${num} records did not reach Spanloop: the spool took nothing: ${error.code}`);
      }
    }
    held = [];
  }
  let bytes = held.reduce((sum, one) => sum + one.body.length, 0);
  while (bytes > MAX_WAITING_BYTES) bytes -= held.shift().body.length;
  retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
  if (held.length) later(retryMs);
}

let numSpooled = 0;

// The same directory and names as otel_exporter/spool.py, whose process sends them when it finds them.
function spool(signal, body) {
  files.mkdirSync(settings.spool, { recursive: true, mode: 0o700 });
  const number = String(BigInt(Date.now()) * 1_000_000n).padStart(20, "0");
  const file = path.join(settings.spool, `${number}-${process.pid}-${numSpooled++}.${signal}`);
  files.writeFileSync(`${file}.part`, body, { mode: 0o600, flag: "wx" });
  files.renameSync(`${file}.part`, `${file}.otlp`);
}

function readSettings(environment) {
  const setting = (name, otherwise = "") => environment[PREFIX + name]?.trim() || otherwise;
  const endpoint = setting("ENDPOINT", "http://localhost:4318").replace(/\/+$/, "");
  if (!/^https?:\/\//.test(endpoint)) throw new Error(`${PREFIX}ENDPOINT is ${endpoint}; use http://host:4318`);
  const timeoutMs = 1000 * Number(setting("TIMEOUT", "10"));
  if (!(timeoutMs > 0)) throw new Error(`${PREFIX}TIMEOUT is not a number of seconds`);
  const headers = {};
  for (const pair of setting("HEADERS").split(",").filter(Boolean)) {
    const [key, ...value] = pair.split("=");
    headers[key.trim()] = decodeURIComponent(value.join("=").trim());
  }
  const resource = { "service.name": path.basename(process.argv[1] ?? "agent") };
  for (const pair of (environment.OTEL_RESOURCE_ATTRIBUTES ?? "").split(",").filter(Boolean)) {
    const [key, ...value] = pair.split("=");
    resource[key.trim()] = decodeURIComponent(value.join("=").trim());
  }
  if (environment.OTEL_SERVICE_NAME) resource["service.name"] = environment.OTEL_SERVICE_NAME;
  return { endpoint, timeoutMs, headers, resource, spool: setting("SPOOL"), redactor: redactor(environment, STAGES) };
}

function encode(signal, records) {
  const [outer, middle, inner] = signal === "traces"
    ? ["resourceSpans", "scopeSpans", "spans"] : ["resourceLogs", "scopeLogs", "logRecords"];
  const scope = { scope: { name: "spanloop.tracker", version: "0.1.0" }, [inner]: records };
  return JSON.stringify({ [outer]: [{ resource: { attributes: asAttributes(settings.resource) }, [middle]: [scope] }] });
}

function asAttributes(values) {
  return Object.entries(values).filter(([, value]) => value !== undefined).map(([key, value]) => ({ key, value: asValue(value) }));
}

function asPlain(value) {
  return typeof value !== "object" || (isObject(value) && "doubleValue" in value) ? value : written(value);
}

function asValue(value) {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number") return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  if (isObject(value) && "doubleValue" in value) return value;
  return { stringValue: written(value) };
}

function written(value) {
  if (typeof value === "string") return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

let lastTime = 0n;

// Nanoseconds since 1970 in decimal digits; never the same twice, so that what came later sorts later.
function now() {
  const time = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
  lastTime = time > lastTime ? time : lastTime + 1n;
  return String(lastTime);
}

function say(text) {
  if (!hasSaid.has(text) && hasSaid.size < 20) {
    hasSaid.add(text);
    console.warn(`spanloop: ${text}`);
  }
  return false;
}

let isLeaving = false;
process.on("beforeExit", () => {
  if (!isLeaving && (waiting.length || held.length)) {
    isLeaving = true;
    sendAll();
  }
});
