// The vendor's own JavaScript client: a stream of text and reasoning, then a tool loop.
import OpenAI from "openai";

const { base, model, thoughtful, calling, result } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

async function streamed() {
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: thoughtful }],
    stream: true,
    stream_options: { include_usage: true },
  });
  const said = { content: "", reasoning: "", finish: null, usage: null };
  for await (const chunk of stream) {
    const choice = chunk.choices[0];
    said.content += choice?.delta.content ?? "";
    said.reasoning += choice?.delta.reasoning_content ?? "";
    said.finish = choice?.finish_reason ?? said.finish;
    said.usage = chunk.usage ?? said.usage;
  }
  return said;
}

async function looped() {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: [{ role: "user", content: calling }],
    stream: true,
    tools: [
      {
        type: "function",
        function: {
          ...tools[0].function,
          parse: JSON.parse,
          function: (arguments_) => {
            asked.push(arguments_);
            return result;
          },
        },
      },
    ],
  });
  return { asked, final: await runner.finalContent() };
}

console.log(JSON.stringify({ streamed: await streamed(), looped: await looped() }));
