// An agent of Mastra with one tool. Mastra records spans where `observability` says so.
import { openai } from "@ai-sdk/openai";
import { Mastra } from "@mastra/core";
import { Agent } from "@mastra/core/agent";
import { createTool } from "@mastra/core/tools";
import { Observability } from "@mastra/observability";
import { OtelExporter } from "@mastra/otel-exporter";
import { z } from "zod";

const multiply = createTool({
  id: "multiply",
  description: "Multiply two numbers.",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: async ({ a, b }) => a * b,
});
const calculator = new Agent({
  id: "calculator",
  name: "calculator",
  instructions: "Use the tool.",
  model: openai.chat("scripted-1"),
  tools: { multiply },
});
const endpoint = `${process.env.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces`;
const exporter = new OtelExporter({ provider: { custom: { endpoint, protocol: "http/protobuf" } } });
const observability = new Observability({ configs: { otel: { serviceName: "mastra", exporters: [exporter] } } });
const mastra = new Mastra({ agents: { calculator }, observability });
try {
  console.log((await mastra.getAgent("calculator").generate("What is 17 times 23?")).text);
} finally {
  await observability.shutdown();
}
