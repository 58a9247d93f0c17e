// An agent of Genkit: a flow around one tool.
import { openAI } from "@genkit-ai/compat-oai/openai";
import { genkit, z } from "genkit";

const ai = genkit({ plugins: [openAI()] });
const multiply = ai.defineTool(
  { name: "multiply", description: "Multiply two numbers.", inputSchema: z.object({ a: z.number(), b: z.number() }) },
  async ({ a, b }) => a * b,
);
const calculator = ai.defineFlow("calculator", async (question: string) => {
  const answer = await ai.generate({ model: openAI.model("gpt-4o"), prompt: question, tools: [multiply] });
  return answer.text;
});
console.log(await calculator("What is 17 times 23?"));
