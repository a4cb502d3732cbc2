// The package @anthropic-ai/sdk: Messages.
import assert from "node:assert/strict";
import Anthropic, { AuthenticationError, BadRequestError, NotFoundError } from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { ANTHROPIC_MODELS, BASE_URL, CASES, Judge, KEY, versionOf } from "./harness.js";

const Person = z.object({ name: z.string(), age: z.number().int(), languages: z.array(z.string()) });

class Messages extends Judge {
  name = "@anthropic-ai/sdk";
  version = versionOf("@anthropic-ai/sdk");
  inbound = "messages";
  modelOf = ANTHROPIC_MODELS;
  finishes = { stop: "end_turn", tools: "tool_use", length: "max_tokens" };
  errors = { 400: BadRequestError, 401: AuthenticationError, 404: NotFoundError };
  extras = ["thinking", "count_tokens", "models"];

  supports(name, stream, upstream) {
    if (name === "thinking") return upstream === "messages";
    return !stream || !["count_tokens", "models"].includes(name);
  }

  client(key = KEY) {
    return new Anthropic({ baseURL: BASE_URL, apiKey: key });
  }

  messagesOf(turns) {
    return turns.map(([kind, value]) => {
      if (kind === "answer") return { role: "assistant", content: value.raw };
      if (kind === "results") return { role: "user", content: value.map(([call, content]) => ({ type: "tool_result", tool_use_id: call.id, content })) };
      if (kind === "image") {
        const source = { type: "base64", media_type: CASES.image.media_type, data: CASES.image.data };
        return { role: "user", content: [{ type: "image", source }, { type: "text", text: value }] };
      }
      return { role: kind, content: value };
    });
  }

  async ask({ model, stream, turns, system, tools, schema, thinking, maxTokens, key }) {
    const { messages } = this.client(key);
    const request = {
      model,
      max_tokens: maxTokens,
      messages: this.messagesOf(turns),
      ...(system && { system }),
      ...(tools && { tools: [{ name: CASES.tool.name, description: CASES.tool.description, input_schema: CASES.tool.parameters }] }),
      ...(thinking && { thinking: { type: "enabled", budget_tokens: CASES.thinking.budget_tokens } }),
      ...(schema && { output_config: { format: zodOutputFormat(Person) } }),
    };
    let message, cost;
    if (stream) {
      const events = messages.stream(request);
      // The price is in the last usage, of which the client keeps the counts that it knows.
      events.on("streamEvent", (event) => {
        if (event.type === "message_delta") cost = event.usage.cost;
      });
      message = await events.finalMessage();
    } else {
      message = await (schema ? messages.parse(request) : messages.create(request));
      cost = message.usage.cost;
    }
    const { content, usage, stop_reason } = message;
    const cached = usage.cache_read_input_tokens ?? 0;
    return {
      text: content.map((block) => block.text ?? "").join(""),
      calls: content.filter(({ type }) => type === "tool_use").map(({ id, name, input }) => ({ id, name, args: input })),
      finish: stop_reason,
      usage: [usage.input_tokens + cached, cached, usage.output_tokens],
      cost,
      parsed: message.parsed_output,
      raw: content,
    };
  }

  async thinking(model, stream) {
    const { max_tokens, text, signature } = CASES.thinking;
    const answer = await this.converse(CASES.single, model, stream, { thinking: true, maxTokens: max_tokens });
    const [block] = answer.raw;
    assert.deepEqual([block.type, block.thinking, block.signature], ["thinking", text, signature]);
  }

  async count_tokens(model) {
    const { input_tokens } = await this.client().messages.countTokens({ model, messages: this.messagesOf([["user", CASES.plain.prompt]]) });
    assert.ok(input_tokens >= 5 && input_tokens <= 40, input_tokens);
  }

  async models(model) {
    assert.ok((await this.client().models.list()).data.some(({ id }) => id === model), "the model is not listed");
    const { id, type } = await this.client().models.retrieve(model);
    assert.deepEqual([id, type], [model, "model"]);
  }
}

export const judges = [new Messages()];
