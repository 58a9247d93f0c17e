// Sends COUNT spans with stock OpenTelemetry JS, a batch every 100 ms: node client.mjs json|protobuf URL COUNT
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';

const [encoding, url, count] = process.argv.slice(2);
const exporter = new (encoding === 'json' ? JsonExporter : ProtobufExporter)({ url: `${url}/v1/traces` });
const processor = new BatchSpanProcessor(exporter, { scheduledDelayMillis: 100, maxQueueSize: 100_000 });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ 'service.name': `js-${encoding}` }),
  spanProcessors: [processor],
});
const tracer = provider.getTracer('interop', '1.0');

for (let number = 0; number < Number(count); number++) {
  const span = tracer.startSpan(`span ${number}`, { attributes: { number, text: 'naïve', list: ['a', 'b'], ratio: 0.5 } });
  span.addEvent('noted', { why: 'interop' });
  span.end();
  if (number % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 100));
}
await provider.shutdown();
