// The Vercel AI SDK, as chat pages and agents use it: reasoning and text parts, then a tool loop.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { base, model, thoughtful, calling, result } = JSON.parse(process.argv[2]);
const mesh = createOpenAICompatible({ name: "mesh", baseURL: `${base}/v1`, includeUsage: true });

async function streamed() {
  const answer = streamText({ model: mesh(model), prompt: thoughtful, maxRetries: 0 });
  return {
    content: await answer.text,
    reasoning: await answer.reasoningText,
    finish: await answer.finishReason,
    usage: await answer.usage,
  };
}

async function looped() {
  const asked = [];
  const answer = streamText({
    model: mesh(model),
    prompt: calling,
    maxRetries: 0,
    stopWhen: stepCountIs(3),
    tools: {
      weather: tool({
        inputSchema: z.object({ city: z.string() }),
        execute: async (arguments_) => {
          asked.push(arguments_);
          return result;
        },
      }),
    },
  });
  return { asked, final: await answer.text };
}

console.log(JSON.stringify({ streamed: await streamed(), looped: await looped() }));
