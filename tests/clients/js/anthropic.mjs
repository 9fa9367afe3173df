// The vendor's own JavaScript client: a stream with thinking, then a tool's call and its result.
import Anthropic from "@anthropic-ai/sdk";

const { base, model, thoughtful, calling, result } = JSON.parse(process.argv[2]);
const client = new Anthropic({ baseURL: base, apiKey: "none", maxRetries: 0 });
const tools = [
  {
    name: "weather",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

async function streamed() {
  const stream = client.messages.stream({
    model,
    max_tokens: 512,
    messages: [{ role: "user", content: thoughtful }],
  });
  const said = { content: "", reasoning: "" };
  stream.on("text", (text) => (said.content += text));
  stream.on("thinking", (text) => (said.reasoning += text));
  const message = await stream.finalMessage();
  return { ...said, finish: message.stop_reason, usage: message.usage };
}

async function looped() {
  const messages = [{ role: "user", content: calling }];
  const first = await client.messages
    .stream({ model, max_tokens: 512, messages, tools })
    .finalMessage();
  const call = first.content.find((block) => block.type === "tool_use");
  messages.push(
    { role: "assistant", content: first.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: result }] },
  );
  const last = await client.messages
    .stream({ model, max_tokens: 512, messages, tools })
    .finalMessage();
  return { asked: [call.input], final: last.content.map((block) => block.text ?? "").join("") };
}

console.log(JSON.stringify({ streamed: await streamed(), looped: await looped() }));
