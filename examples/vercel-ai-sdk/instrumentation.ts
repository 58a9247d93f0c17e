// The AI SDK's spans in the GenAI conventions, sent to where the environment says.
import { OpenTelemetry } from "@ai-sdk/otel";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { registerTelemetry } from "ai";

const sdk = new NodeSDK();
sdk.start();
registerTelemetry(new OpenTelemetry());
process.once("beforeExit", () => sdk.shutdown());
process.once("uncaughtException", async (error) => {
  console.error(error);
  await sdk.shutdown();
  process.exit(1);
});
