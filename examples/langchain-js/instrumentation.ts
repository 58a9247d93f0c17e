// OpenInference's spans of LangChain, sent to where the environment says.
import { LangChainInstrumentation } from "@arizeai/openinference-instrumentation-langchain";
import * as callbacks from "@langchain/core/callbacks/manager";
import { NodeSDK } from "@opentelemetry/sdk-node";

const sdk = new NodeSDK();
sdk.start();
new LangChainInstrumentation().manuallyInstrument(callbacks);
process.once("beforeExit", () => sdk.shutdown());
process.once("uncaughtException", async (error) => {
  console.error(error);
  await sdk.shutdown();
  process.exit(1);
});
