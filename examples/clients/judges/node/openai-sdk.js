// The openai package: chat completions and Responses.
import assert from "node:assert/strict";
import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { BASE_URL, CASES, IMAGE_URL, Judge, KEY, versionOf } from "./harness.js";

const Person = z.object({ name: z.string(), age: z.number().int(), languages: z.array(z.string()) });

class OpenAIJudge extends Judge {
  name = "openai-node";
  version = versionOf("openai");
  errors = { 400: BadRequestError, 401: AuthenticationError, 404: NotFoundError };

  client(key = KEY) {
    return new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: key });
  }
}

class Chat extends OpenAIJudge {
  inbound = "chat";
  extras = ["raw_stream", "models", "power_levels", "gateway_errors", "embeddings"];

  supports(name, stream, upstream) {
    if (["power_levels", "gateway_errors"].includes(name)) return upstream === "chat"; // what no provider has to do with
    if (name === "embeddings") return upstream === "chat" && !stream;
    return name === "raw_stream" ? stream : name !== "models" || !stream;
  }

  request({ model, stream, turns, system, tools, maxTokens, schema }) {
    const messages = system ? [{ role: "system", content: system }] : [];
    for (const [kind, value] of turns) {
      if (kind === "answer") messages.push(value.raw);
      else if (kind === "results") messages.push(...value.map(([call, content]) => ({ role: "tool", tool_call_id: call.id, content })));
      else if (kind === "image") {
        messages.push({ role: "user", content: [{ type: "text", text: value }, { type: "image_url", image_url: { url: IMAGE_URL } }] });
      } else messages.push({ role: kind, content: value });
    }
    return {
      model,
      messages,
      max_tokens: maxTokens,
      ...(tools && { tools: [{ type: "function", function: { ...CASES.tool, strict: true } }] }),
      ...(schema && { response_format: zodResponseFormat(Person, "person") }),
      ...(stream && { stream_options: { include_usage: true } }),
    };
  }

  async ask(wants) {
    const { completions } = this.client(wants.key).chat;
    const request = this.request(wants);
    let completion;
    if (wants.stream) completion = await completions.stream(request).finalChatCompletion();
    else completion = await (wants.schema ? completions.parse(request) : completions.create(request));
    const { choices, usage } = completion;
    const [{ message, finish_reason }] = choices;
    const { role, content, tool_calls } = message;
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    return {
      text: content,
      calls: (tool_calls ?? []).map((call) => ({ id: call.id, name: call.function.name, args: JSON.parse(call.function.arguments) })),
      finish: finish_reason,
      usage: [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens],
      cost: usage.cost,
      parsed: message.parsed,
      raw: {
        role,
        content,
        tool_calls: tool_calls?.map(({ id, type, function: { name, arguments: args } }) => ({ id, type, function: { name, arguments: args } })),
      },
    };
  }

  // The chunks as they come: one role, the text, one finish, and the usage last.
  async raw_stream(model) {
    const request = this.request(this.wants(model, true, [["user", CASES.plain.prompt]]));
    let text = "";
    const roles = [];
    const finishes = [];
    let usage;
    for await (const chunk of await this.client().chat.completions.create({ ...request, stream: true })) {
      assert.equal(chunk.object, "chat.completion.chunk");
      assert.ok(!usage, "the usage is not last");
      usage = chunk.usage;
      for (const { delta, finish_reason } of chunk.choices) {
        text += delta.content ?? "";
        if (delta.role) roles.push(delta.role);
        if (finish_reason) finishes.push(finish_reason);
      }
    }
    assert.equal(text, CASES.plain.text);
    assert.deepEqual([roles, finishes, usage.total_tokens], [["assistant"], ["stop"], CASES.usage.input + CASES.usage.output]);
  }

  async models(model) {
    assert.ok((await this.client().models.list()).data.some(({ id }) => id === model), "the model is not listed");
    assert.equal((await this.client().models.retrieve(model)).id, model);
  }

  async embeddings() {
    const { texts, vector } = CASES.embeddings;
    const { data, usage } = await this.client().embeddings.create({ model: "text-embedding-3-small", input: texts });
    assert.deepEqual(data.map(({ embedding }) => embedding), texts.map(() => vector));
    assert.equal(usage.total_tokens, CASES.usage.input);
  }

  // A power level as the model's name, as a field beside it, and a model by its own name.
  async power_levels(model, stream) {
    for (const [request, header, value] of [
      [{ model: "eco" }, "power-level", "eco"],
      [{ model: "auto", power_level: "eco" }, "power-level", "eco"],
      [{ model }, "model", model],
    ]) {
      const messages = [{ role: "user", content: CASES.plain.prompt }];
      const { data, response } = await this.client().chat.completions.create({ messages, stream, ...request }).withResponse();
      assert.equal(response.headers.get(`x-pointsman-${header}`), value);
      assert.ok(response.headers.get("x-request-id"));
      if (stream) for await (const chunk of data) assert.ok(chunk.id);
      else assert.equal(Number(data.usage.credits), Number(response.headers.get("x-pointsman-credits")));
    }
  }

  // What the gateway itself refuses, with its code and the field.
  async gateway_errors(model, stream) {
    // The worst case of the dear request is more than the account can pay for. The client does not try a 402 again.
    for (const [request, kind, status, code, param] of [
      [{ power_level: "ultra" }, BadRequestError, 400, "invalid_power_level", "power_level"],
      [{ max_tokens: -1 }, BadRequestError, 400, "invalid_value", "max_tokens"],
      [{ model: "dear", max_tokens: 16384, n: 8 }, APIError, 402, "insufficient_credits", null],
    ]) {
      try {
        await this.client().chat.completions.create({ model, messages: [{ role: "user", content: "Hello" }], stream, ...request });
      } catch (error) {
        assert.ok(error instanceof kind, error);
        assert.deepEqual([error.status, error.code, error.param], [status, code, param]);
        assert.ok(error.requestID);
        continue;
      }
      assert.fail(`not refused: ${code}`);
    }
  }
}

class Responses extends OpenAIJudge {
  inbound = "responses";
  finishes = { stop: "completed", tools: "completed", length: "incomplete: max_output_tokens" };
  extras = ["events"];

  supports(name, stream) {
    return stream || name !== "events";
  }

  request({ model, turns, system, tools, maxTokens, schema }) {
    const input = [];
    for (const [kind, value] of turns) {
      if (kind === "answer") input.push(...value.raw);
      else if (kind === "results") input.push(...value.map(([call, output]) => ({ type: "function_call_output", call_id: call.id, output })));
      else if (kind === "image") {
        input.push({ role: "user", content: [{ type: "input_text", text: value }, { type: "input_image", image_url: IMAGE_URL, detail: "auto" }] });
      } else input.push({ role: kind, content: value });
    }
    return {
      model,
      input,
      max_output_tokens: maxTokens,
      store: false,
      ...(system && { instructions: system }),
      ...(tools && { tools: [{ type: "function", ...CASES.tool, strict: true }] }),
      ...(schema && { text: { format: zodTextFormat(Person, "person") } }),
    };
  }

  async ask(wants) {
    const { responses } = this.client(wants.key);
    const request = this.request(wants);
    let response;
    if (wants.stream) response = await responses.stream(request).finalResponse();
    else response = await (wants.schema ? responses.parse(request) : responses.create(request));
    const { usage, incomplete_details } = response;
    const calls = response.output.filter(({ type }) => type === "function_call");
    return {
      text: response.output_text,
      calls: calls.map((call) => ({ id: call.call_id, name: call.name, args: JSON.parse(call.arguments) })),
      finish: [response.status, ...(incomplete_details ? [incomplete_details.reason] : [])].join(": "),
      usage: [usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens],
      cost: usage.cost,
      parsed: response.output_parsed,
      raw: response.output.map(({ parsed_arguments, ...item }) => item),
    };
  }

  // The events as they come, in their order and numbered.
  async events(model) {
    const request = this.request(this.wants(model, true, [["user", CASES.plain.prompt]]));
    const names = [];
    let text = "";
    let number = 0;
    for await (const event of await this.client().responses.create({ ...request, stream: true })) {
      assert.equal(event.sequence_number, number++);
      if (event.type === "response.output_text.delta") text += event.delta;
      if (names.at(-1) !== event.type) names.push(event.type);
    }
    assert.equal(text, CASES.plain.text);
    const steps =
      "created in_progress output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done completed";
    assert.deepEqual(names, steps.split(" ").map((step) => `response.${step}`));
  }
}

export const judges = [new Chat(), new Responses()];
