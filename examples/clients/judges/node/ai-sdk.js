// The AI SDK with the providers of both vendors.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ANTHROPIC_MODELS, BASE_URL, CASES, Judge, KEY, versionOf } from "./harness.js";

const Person = z.object({ name: z.string(), age: z.number().int(), languages: z.array(z.string()) });
const weather = { description: CASES.tool.description, inputSchema: jsonSchema(CASES.tool.parameters) };

class AI extends Judge {
  errors = { 400: APICallError, 401: APICallError, 404: APICallError };
  finishes = { stop: "stop", tools: "tool-calls", length: "length" };
  extras = ["agent"];

  status(error) {
    return error.statusCode;
  }

  messagesOf(turns) {
    return turns.flatMap(([kind, value]) => {
      if (kind === "answer") return value.raw;
      if (kind === "results") {
        const content = value.map(([call, text]) => ({
          type: "tool-result",
          toolCallId: call.id,
          toolName: call.name,
          output: { type: "text", value: text },
        }));
        return [{ role: "tool", content }];
      }
      if (kind === "image") {
        return [{ role: "user", content: [{ type: "text", text: value }, { type: "image", image: CASES.image.data, mediaType: CASES.image.media_type }] }];
      }
      return [{ role: kind, content: value }];
    });
  }

  async ask({ model, stream, turns, system, tools, schema, thinking, maxTokens, key }) {
    return this.answer(stream, {
      model: this.model(model, key),
      messages: this.messagesOf(turns),
      maxOutputTokens: maxTokens,
      ...(system && { system }),
      ...(tools && { tools: { [CASES.tool.name]: tool(weather) } }),
      ...(schema && { output: Output.object({ schema: Person }) }),
      ...(thinking && { providerOptions: { anthropic: { thinking: { type: "enabled", budgetTokens: CASES.thinking.budget_tokens } } } }),
    });
  }

  async answer(stream, request) {
    let result;
    if (stream) {
      result = streamText({ ...request, onError() {} });
      for await (const part of result.fullStream) if (part.type === "error") throw part.error;
    } else result = await generateText(request);
    const [text, calls, finish, usage, response] = await Promise.all([
      result.text,
      result.toolCalls,
      result.finishReason,
      result.usage,
      result.response,
    ]);
    return {
      text,
      calls: calls.map(({ toolCallId, toolName, input }) => ({ id: toolCallId, name: toolName, args: input })),
      finish,
      usage: [usage.inputTokens, usage.inputTokenDetails.cacheReadTokens, usage.outputTokens],
      cost: usage.raw?.cost,
      parsed: request.output && (await result.output),
      raw: response.messages,
    };
  }

  // The SDK's own loop of calls and results.
  async agent(model, stream) {
    const asked = [];
    const execute = (args) => {
      asked.push(args);
      return CASES.results[args.city];
    };
    const answer = await this.answer(stream, {
      model: this.model(model, KEY),
      prompt: CASES.parallel.prompt,
      tools: { [CASES.tool.name]: tool({ ...weather, execute }) },
      stopWhen: stepCountIs(3),
    });
    assert.deepEqual(asked, CASES.parallel.calls);
    assert.equal(answer.text, CASES.parallel.text);
  }
}

class Chat extends AI {
  name = "@ai-sdk/openai";
  version = `${versionOf("@ai-sdk/openai")} (ai ${versionOf("ai")})`;
  inbound = "chat";

  extras = ["agent", "embeddings"];

  supports(name, stream, upstream) {
    if (name === "embeddings") return this.inbound === "chat" && upstream === "chat" && !stream;
    return name !== "cost" || this.inbound !== "chat"; // of a chat completion's usage it keeps what it knows
  }

  model(name, apiKey) {
    return createOpenAI({ baseURL: `${BASE_URL}/v1`, apiKey }).chat(name);
  }

  async embeddings() {
    const { texts, vector } = CASES.embeddings;
    const model = createOpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: KEY }).embedding("text-embedding-3-small");
    const { embeddings, usage } = await embedMany({ model, values: texts });
    assert.deepEqual(embeddings, texts.map(() => vector));
    assert.equal(usage.tokens, CASES.usage.input);
  }
}

class Responses extends Chat {
  inbound = "responses";

  model(name, apiKey) {
    return createOpenAI({ baseURL: `${BASE_URL}/v1`, apiKey }).responses(name);
  }
}

class Messages extends AI {
  name = "@ai-sdk/anthropic";
  version = `${versionOf("@ai-sdk/anthropic")} (ai ${versionOf("ai")})`;
  inbound = "messages";
  modelOf = ANTHROPIC_MODELS;
  extras = ["agent", "thinking"];

  supports(name, stream, upstream) {
    return name !== "thinking" || upstream === "messages";
  }

  async thinking(model, stream) {
    const { max_tokens, text, signature } = CASES.thinking;
    const answer = await this.converse(CASES.single, model, stream, { thinking: true, maxTokens: max_tokens });
    const [{ content }] = answer.raw;
    assert.deepEqual([content[0].text, content[0].providerOptions.anthropic.signature], [text, signature]);
  }

  model(name, apiKey) {
    return createAnthropic({ baseURL: `${BASE_URL}/v1`, apiKey })(name);
  }
}

export const judges = [new Chat(), new Responses(), new Messages()];
