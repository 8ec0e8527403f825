// Three spans of one trace from OpenTelemetry's own JavaScript SDK: node export.mjs http|proto|grpc [KEY]
//
// The receiver is OTEL_EXPORTER_OTLP_ENDPOINT, as everywhere. With KEY the header is given in code, without it comes
// from OTEL_EXPORTER_OTLP_HEADERS, both as their documentation shows. Prints ok, or the error and exits with 1.

import { Metadata } from "@grpc/grpc-js";
import { SpanStatusCode, context, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as HttpExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtoExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [protocol, key] = process.argv.slice(2);
const exporter = { http: overHttp, proto: overHttp, grpc: overGrpc }[protocol]();
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": `shop over ${protocol}` }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer("evalpipe", "1.0");

const agent = tracer.startSpan("invoke_agent", { attributes: { "gen_ai.operation.name": "invoke_agent" } });
const inside = trace.setSpan(context.active(), agent);
const usage = { "gen_ai.usage.input_tokens": 12, "gen_ai.response.finish_reasons": ["stop"] };
tracer.startSpan("chat", { attributes: { "gen_ai.operation.name": "chat", ...usage } }, inside).end();
const tool = tracer.startSpan("execute_tool", { attributes: { "gen_ai.tool.name": "get_order" } }, inside);
tool.recordException(new Error("The order book is closed."));
tool.setStatus({ code: SpanStatusCode.ERROR });
tool.end();
agent.end();

try {
  await provider.forceFlush();
  console.log("ok");
} catch (error) {
  console.log(String(error));
  process.exitCode = 1;
}
await provider.shutdown();

function overHttp() {
  const Exporter = protocol === "proto" ? ProtoExporter : HttpExporter;
  return new Exporter({ compression: "gzip", ...(key && { headers: { Authorization: `Bearer ${key}` } }) });
}

function overGrpc() {
  const metadata = new Metadata();
  if (key) metadata.set("authorization", `Bearer ${key}`);
  return new GrpcExporter(key ? { metadata } : {});
}
