// The shop conversation of server.py through LangChain's JavaScript agent, instrumented by OpenInference.
// It runs beside package-openinference_js.json, as package.json (README.md).

import { setSession, setUser } from "@arizeai/openinference-core";
import { LangChainInstrumentation } from "@arizeai/openinference-instrumentation-langchain";
import * as CallbackManagerModule from "@langchain/core/callbacks/manager";
import { ChatOpenAI } from "@langchain/openai";
import { context } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { NodeSDK, tracing } from "@opentelemetry/sdk-node";
import { createAgent, tool } from "langchain";
import { z } from "zod";

const sdk = new NodeSDK({
  spanProcessors: [new tracing.BatchSpanProcessor(new OTLPTraceExporter())],
  instrumentations: [],
  autoDetectResources: false,
  serviceName: process.env.OTEL_SERVICE_NAME,
});
sdk.start();
new LangChainInstrumentation().manuallyInstrument(CallbackManagerModule);

const model = new ChatOpenAI({
  model: "scripted-1",
  maxRetries: 0,
  configuration: { baseURL: process.env.OPENAI_BASE_URL },
});
const getOrder = tool(async ({ order_id }) => JSON.stringify({ order_id, status: "shipped" }), {
  name: "get_order",
  description: "Looks an order up.",
  schema: z.object({ order_id: z.string() }),
});
const agent = createAgent({ model, tools: [getOrder], systemPrompt: "You are the shop's assistant." });

const where = { role: "user", content: "Where is order 1042?" };
const left = { role: "assistant", content: "Order 1042 left the warehouse on Monday." };
const conversation = setUser(setSession(context.active(), { sessionId: "conversation-7" }), { userId: "ada" });
await context.with(conversation, async () => {
  await agent.invoke({ messages: [where] });
  for await (const _ of await model.stream([where, left, { role: "user", content: "When does it arrive?" }]));
  await model.invoke("Break.").then(
    () => process.exit(1),
    () => {},
  );
});
await sdk.shutdown();
