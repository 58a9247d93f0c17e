// Run with `node --test`. The model server is a scripted one on loopback; it takes the exports too.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import * as files from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const exports = [];
let asked = [];
let isAborted = false;
let server;
let url;
let tracker;

const CHUNKS = ["Grü", "ße"].map((content) => ({
  id: "c1", object: "chat.completion.chunk", model: "m-1", choices: [{ index: 0, delta: { role: "assistant", content } }],
}));
CHUNKS.push({ id: "c1", object: "chat.completion.chunk", model: "m-1", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
const WHOLE = {
  id: "c1", object: "chat.completion", model: "m-1",
  choices: [{ index: 0, message: { role: "assistant", content: "Grüße" }, finish_reason: "stop" }],
};

before(async () => {
  server = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = JSON.parse(Buffer.concat(pieces).toString() || "null");
    if (/^\/v1\/(traces|logs)$/.test(request.url)) {
      exports.push(body);
      return response.end("{}");
    }
    asked.push({ headers: request.headers, body });
    if (body?.fail) return response.writeHead(500).end('{"error":{"message":"no"}}');
    if (!body?.stream) return response.end(JSON.stringify(WHOLE));
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.on("close", () => (isAborted ||= !response.writableFinished));
    for (const chunk of CHUNKS) {
      response.write(`data: ${JSON.stringify(chunk)}\n\n`);
      await sleep(body.slow ? 20 : 0);
      if (body.slow === "forever") await sleep(10_000, undefined, { ref: false });
    }
    response.end("data: [DONE]\n\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${server.address().port}`;
  process.env.SPANLOOP_EXPORTER_OTLP_ENDPOINT = url;
  tracker = await import("../tracker.js");
});

after(() => {
  server.closeAllConnections();
  server.close();
});

beforeEach(() => {
  exports.length = 0;
  asked = [];
});

const plain = (attributes) => Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));

async function spans() {
  await tracker.flush();
  return exports.flatMap((one) => one.resourceSpans ?? []).flatMap((one) => one.scopeSpans[0].spans)
    .map((span) => ({ ...span, attributes: plain(span.attributes) }));
}

const ask = (fetch, more = {}, options = {}) => fetch(`${url}/v1/chat/completions`, {
  method: "POST", headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "m", messages: [{ role: "user", content: "hi 🗼" }], ...more }), ...options,
});

test("whole and streamed answers are the untracked ones, recorded once each", async () => {
  const tracked = tracker.track(fetch);
  assert.equal(tracker.track(tracked), tracked);
  for (const more of [{}, { stream: true }]) {
    const [one, other] = [await ask(tracked, more), await ask(fetch, more)];
    assert.ok(one instanceof Response);
    assert.equal(one.url, other.url);
    assert.equal(one.status, 200);
    assert.deepEqual(await one.text(), await other.text());
  }
  const calls = await spans();
  assert.equal(calls.length, 2);
  for (const call of calls) {
    assert.deepEqual(JSON.parse(call.attributes["spanloop.response.body"]), WHOLE);
    assert.equal(call.attributes["spanloop.response.partial"], undefined);
    assert.equal(JSON.parse(call.attributes["spanloop.request.body"]).messages[0].content, "hi 🗼");
  }
  assert.equal(asked[0].headers.traceparent, `00-${calls[0].traceId}-${calls[0].spanId}-01`);
});

test("a Request object, and what asks no model", async () => {
  const tracked = tracker.track(fetch);
  await (await tracked(new Request(`${url}/v1/x`, { method: "POST", body: '{"prompt": "a"}' }))).text();
  await (await tracked(`${url}/v1/x`, { method: "POST", body: '{"other": 1}' })).text();
  await (await tracked(`${url}/v1/x`)).text().catch(() => {});
  assert.equal((await spans()).length, 1);
  assert.equal(asked[0].body.prompt, "a");
});

test("a stream left early is cancelled at its source and says that it is partial", async () => {
  isAborted = false;
  const response = await ask(tracker.track(fetch), { stream: true, slow: "forever" });
  for await (const piece of response.body) {
    assert.ok(piece.byteLength);
    break;
  }
  const [call] = await spans();
  assert.equal(call.attributes["spanloop.response.partial"], true);
  for (let tries = 0; !isAborted && tries < 100; tries++) await sleep(20);
  assert.ok(isAborted);
});

test("errors reach the agent and the record", async () => {
  const tracked = tracker.track(fetch);
  assert.equal((await ask(tracked, { fail: true })).status, 500);
  await assert.rejects(tracked("http://127.0.0.1:9/v1/x", { method: "POST", body: '{"prompt": "a"}' }), TypeError);
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(ask(tracked, {}, { signal: abort.signal }), { name: "AbortError" });
  await sleep(10);
  assert.deepEqual((await spans()).map((call) => call.attributes["error.type"]).sort(), ["AbortError", "TypeError"]);
});

test("episodes, agents, tools and rewards make one trace each, also at once", async () => {
  const tracked = tracker.track(fetch);
  const add = tracker.tool("add", async ({ a, b }) => a + b);
  const fails = tracker.tool("fails", () => { throw new RangeError("no"); });
  const run = (id) => tracker.episode({ id, task: "t", split: "heldout", attributes: { n: 3 } }, async () => {
    await tracker.agent("solver", async () => {
      await (await ask(tracked)).json();
      assert.equal(await add({ a: 1, b: 2 }), 3);
    });
    assert.throws(fails, RangeError);
    assert.ok(tracker.annotate({ hard: true }));
    assert.ok(tracker.reward(1, { explanation: "right" }));
    assert.ok(!tracker.reward(NaN));
  });
  await Promise.all([run("e1"), run("e2")]);
  assert.ok(tracker.reward(0.5, { responseId: "c1", name: "late" }));
  const all = await spans();
  assert.equal(new Set(all.map((span) => span.traceId)).size, 2);
  for (const id of ["e1", "e2"]) {
    const mine = all.filter((span) => span.attributes["spanloop.episode.id"] === id);
    const by = Object.fromEntries(mine.map((span) => [span.name, span]));
    assert.equal(by["chat m"].parentSpanId, by["invoke_agent solver"].spanId);
    assert.equal(by["execute_tool add"].attributes["gen_ai.tool.call.result"], "3");
    assert.equal(by["execute_tool fails"].attributes["error.type"], "RangeError");
    assert.equal(by.episode.attributes["spanloop.task.id"], "t");
    assert.equal(by.episode.attributes.hard, true);
    assert.equal(by.episode.events[0].name, "gen_ai.evaluation.result");
    assert.ok(mine.every((span) => span.traceId === by.episode.traceId));
  }
  const [late] = exports.flatMap((one) => one.resourceLogs ?? []).flatMap((one) => one.scopeLogs[0].logRecords);
  assert.equal(plain(late.attributes)["gen_ai.response.id"], "c1");
});

test("a program that ends sends the rest; one whose receiver is away ends all the same and spools", async () => {
  const program = `import { episode } from ${JSON.stringify(new URL("../tracker.js", import.meta.url).href)};
    episode({ id: "last" }, () => {});`;
  const start = (environment) => spawn(process.execPath, ["--input-type=module", "-e", program], {
    env: { ...process.env, ...environment }, stdio: "ignore",
  });
  const [status] = await once(start({}), "exit");
  assert.equal(status, 0);
  assert.equal((await spans())[0].attributes["spanloop.episode.id"], "last");

  const directory = files.mkdtempSync(path.join(tmpdir(), "spool-"));
  const away = { SPANLOOP_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", SPANLOOP_EXPORTER_OTLP_SPOOL: directory };
  assert.deepEqual(await once(start(away), "exit"), [0, null]);
  const [name] = files.readdirSync(directory);
  assert.match(name, /^\d{20}-\d+-\d+\.traces\.otlp$/);
  assert.equal(files.statSync(path.join(directory, name)).mode & 0o777, 0o600);
  files.rmSync(directory, { recursive: true });
});

test("secrets leave no process that is to redact; wrong settings cost spans, said once", async () => {
  const program = `import { episode, reward, tool } from ${JSON.stringify(new URL("../tracker.js", import.meta.url).href)};
    episode({ id: "last", attributes: { to: { email: "ada@example.org" } } }, () => {
      tool("mail", () => "sent to ada@example.org")({ password: "hunter22" });
      reward(1, { explanation: "ada@example.org answered" });
    });
    reward(1, { episodeId: "last", explanation: "ada@example.org answered" });`;
  const start = async (REDACT) => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      env: { ...process.env, SPANLOOP_EXPORTER_REDACT: REDACT }, stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (piece) => (said += piece));
    const [status] = await once(child, "close");
    return [status, said];
  };
  const before = exports.length;
  assert.deepEqual(await start("all"), [0, ""]);
  const sent = JSON.stringify(exports.slice(before));
  assert.equal(sent.match(/<EMAIL_\d+>/g).length, 4);
  assert.ok(!/ada@|hunter22/.test(sent));

  const sentBefore = exports.length;
  const [status, said] = await start("emails");
  assert.equal(status, 0);
  assert.equal(said.match(/no such kind/g).length, 1);
  assert.equal(exports.length, sentBefore);
});

test("the types are valid and the package holds its modules", () => {
  const packed = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], {
    cwd: new URL("..", import.meta.url), stdio: ["ignore", "pipe", "ignore"],
  }));
  assert.deepEqual(packed[0].files.map((file) => file.path).sort(), [
    "README.md", "package.json", "patterns.js", "redaction.js", "tracker.d.ts", "tracker.js",
  ]);
});
