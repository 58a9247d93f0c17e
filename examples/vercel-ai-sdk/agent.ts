// An agent of Vercel's AI SDK with one tool.
import { openai } from "@ai-sdk/openai";
import { ToolLoopAgent, tool } from "ai";
import { z } from "zod";

const multiply = tool({
  description: "Multiply two numbers.",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: async ({ a, b }) => a * b,
});
const agent = new ToolLoopAgent({
  model: openai.chat("scripted-1"),
  instructions: "Use the tool.",
  tools: { multiply },
  telemetry: { functionId: "calculator" },
});
console.log((await agent.generate({ prompt: "What is 17 times 23?" })).text);
