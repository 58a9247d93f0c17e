// Genkit's own spans, sent to where the environment says.
import "genkit"; // before its parts
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { enableTelemetry, flushTracing } from "genkit/tracing";

await enableTelemetry({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
process.once("beforeExit", () => flushTracing());
process.once("uncaughtException", async (error) => {
  console.error(error);
  await flushTracing();
  process.exit(1);
});
