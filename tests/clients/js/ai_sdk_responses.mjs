// The Vercel AI SDK by its OpenAI provider, which speaks the Responses API.
import { createOpenAI } from "@ai-sdk/openai";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { base, model, thoughtful, calling, result } = JSON.parse(process.argv[2]);
const mesh = createOpenAI({ baseURL: `${base}/v1`, apiKey: "none" });
const providerOptions = { openai: { reasoningSummary: "auto", forceReasoning: true } };

async function streamed() {
  const answer = streamText({
    model: mesh(model), prompt: thoughtful, maxRetries: 0, providerOptions,
  });
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
    providerOptions,
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
