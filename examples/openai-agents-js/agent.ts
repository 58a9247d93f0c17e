// An agent of OpenAI's Agents SDK for TypeScript with one tool.
import { Agent, run, tool } from "@openai/agents";
import { z } from "zod";

const multiply = tool({
  name: "multiply",
  description: "Multiply two numbers.",
  parameters: z.object({ a: z.number(), b: z.number() }),
  execute: async ({ a, b }) => String(a * b),
});
const agent = new Agent({ name: "calculator", instructions: "Use the tool.", model: "scripted-1", tools: [multiply] });
console.log((await run(agent, "What is 17 times 23?")).finalOutput);
