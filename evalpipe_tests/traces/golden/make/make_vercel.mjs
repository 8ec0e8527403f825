// The shop conversation of server.py through the Vercel AI SDK 4, 5, 6 or 7, exported over OTLP.
//
// It runs beside one of the package-vercel_*.json, as package.json (README.md). AI SDK 7 needs Node 22 and has two
// ways to speak: "legacy" as argument for the spans of 6.

import { readFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { NodeSDK, tracing } from "@opentelemetry/sdk-node";
import * as ai from "ai";
import { z } from "zod";

const major = Number(JSON.parse(readFileSync(new URL("package.json", import.meta.url))).dependencies.ai.split(".")[0]);
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const model = openai("scripted-1");
const claude = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` })("scripted-1");
const system = "You are the shop's assistant.";

const sdk = new NodeSDK({
  spanProcessors: [new tracing.BatchSpanProcessor(new OTLPTraceExporter())],
  instrumentations: [],
  autoDetectResources: false,
  serviceName: process.env.OTEL_SERVICE_NAME,
});
sdk.start();
if (major >= 7) {
  const { LegacyOpenTelemetry, OpenTelemetry } = await import("@ai-sdk/otel");
  const isLegacy = process.argv[2] === "legacy";
  ai.registerTelemetry(isLegacy ? new LegacyOpenTelemetry() : new OpenTelemetry({ runtimeContext: true, usage: true }));
}

/** What every call has in common; 7 renamed the settings and took the metadata out of the telemetry. */
function call(functionId) {
  const who = { sessionId: "conversation-7", userId: "ada" };
  return {
    maxRetries: 0,
    ...(major >= 7
      ? { telemetry: { functionId, includeRuntimeContext: { sessionId: true, userId: true } }, runtimeContext: who }
      : { experimental_telemetry: { isEnabled: true, functionId, metadata: who } }),
  };
}

function getOrder(execute) {
  const schema = z.object({ order_id: z.string() });
  return { get_order: ai.tool({ description: "Looks an order up.", parameters: schema, inputSchema: schema, execute }) };
}

const steps = major >= 5 ? { stopWhen: ai.stepCountIs(3) } : { maxSteps: 3 };
const first = { role: "user", content: "Where is order 1042?" };
const told = { role: "assistant", content: "Order 1042 left the warehouse on Monday." };
const second = { role: "user", content: "When does it arrive?" };

const tools = getOrder(async ({ order_id }) => ({ order_id, status: "shipped" }));
await ai.generateText({ ...call("ask"), model, system, prompt: first.content, tools, ...steps });

const streamed = ai.streamText({ ...call("follow-up"), model, system, messages: [first, told, second] });
for await (const _ of streamed.textStream);

// Anthropic counts the tokens of its cache beside the others.
await ai.generateText({ ...call("follow-up"), model: claude, messages: [first, told, second] });

const schema = z.object({ order_id: z.string(), status: z.string() });
await ai.generateObject({ ...call("describe"), model, mode: "json", schema, prompt: "Describe order 1042." });

await ai.embed({ ...call("embed"), model: openai.embedding("scripted-embedding"), value: "a parcel" });

const failing = getOrder(async () => {
  throw new Error("The order book is closed.");
});
await expectError(ai.generateText({ ...call("ask"), model, prompt: first.content, tools: failing, ...steps }), major < 5);
await expectError(ai.generateText({ ...call("ask"), model, prompt: "Break." }), true);
await sdk.shutdown();

async function expectError(answer, isExpected) {
  const error = await answer.then(() => null, (reason) => reason);
  if ((error !== null) !== isExpected) throw error ?? new Error("The call was to fail and did not.");
}
