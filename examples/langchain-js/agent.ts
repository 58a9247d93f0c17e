// An agent of LangChain.js, which runs on LangGraph, with one tool.
import { ChatOpenAI } from "@langchain/openai";
import { createAgent, tool } from "langchain";
import { z } from "zod";

const multiply = tool(async ({ a, b }) => String(a * b), {
  name: "multiply",
  description: "Multiply two numbers.",
  schema: z.object({ a: z.number(), b: z.number() }),
});
const agent = createAgent({ model: new ChatOpenAI({ model: "scripted-1" }), tools: [multiply], name: "calculator" });
const answer = await agent.invoke({ messages: [{ role: "user", content: "What is 17 times 23?" }] });
console.log(answer.messages.at(-1)?.content);
