// OpenInference's spans of the Agents SDK, sent to where the environment says.
import * as agents from "@openai/agents";
import { OpenAIAgentsInstrumentation } from "@arizeai/openinference-instrumentation-openai-agents";
import { NodeSDK } from "@opentelemetry/sdk-node";

const sdk = new NodeSDK();
sdk.start();
new OpenAIAgentsInstrumentation().manuallyInstrument(agents);
process.once("beforeExit", () => sdk.shutdown());
process.once("uncaughtException", async (error) => {
  console.error(error);
  await sdk.shutdown();
  process.exit(1);
});
