#!/usr/bin/env node
// A provider plugin in JavaScript: one proxied adapter, which says the last message back instead of asking a provider.
// pointsman-plugin.js beside it speaks with the gateway; what is yours is here.

import { Refused, SettingError, serve } from "./pointsman-plugin.js";

const parrot = {
  name: "parrot-node",
  version: "0.1.0",
  summary: "Says it back (a proxied adapter in JavaScript)",

  // The endpoint for the operator's settings; a setting that is wrong is named. No I/O here.
  prepare({ settings }) {
    for (const setting of Object.keys(settings)) {
      if (setting !== "prefix") throw new SettingError(`${setting} is not known; known is prefix`);
    }
    return {
      mode: "proxied",
      dialect: "openai",
      paths: { chat: "/chat/completions" },
      body: { stream_usage: true },
      // What the status alone does not say of an error. It decides whether the gateway tries another model.
      errors: [
        { status: 400, contains: "too long", class: "context_length" },
        { status: 400, contains: "not allowed to say", class: "content_filter" },
      ],
    };
  },

  // Answers one call: yields the body, or one event at a time if request.stream. request.credential is for this call only.
  // The signal tells that nobody waits any more. Refused is an error answer of the provider.
  async *call(request, signal) {
    let text;
    try {
      text = JSON.parse(request.body.toString()).messages.at(-1).content;
    } catch {
      throw new Refused(400, { error: { message: "messages of text are needed", type: "invalid_request_error" } });
    }
    text = (request.settings.prefix ?? "") + text;
    const tokens = Math.floor(text.length / 4) + 1;
    const usage = { prompt_tokens: tokens, completion_tokens: tokens, total_tokens: 2 * tokens };
    const head = { id: request.request_id, created: 0, model: request.model };
    if (!request.stream) {
      const choice = { index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" };
      yield { ...head, object: "chat.completion", choices: [choice], usage };
      return;
    }
    head.object = "chat.completion.chunk";
    for (const word of text.split(" ")) {
      if (signal.aborted) return;
      yield { ...head, choices: [{ index: 0, delta: { content: word + " " } }] };
    }
    yield { ...head, choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
    yield { ...head, choices: [], usage };
  },
};

serve(parrot);
