// What the judges of all JavaScript clients share: the cases, and how they are run and reported. See ../python/harness.py,
// which does the same.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));

export const CASES = read("../cases.json");
export const BASE_URL = process.env.POINTSMAN_BASE_URL;
export const KEY = process.env.POINTSMAN_API_KEY;
export const IMAGE_URL = `data:${CASES.image.media_type};base64,${CASES.image.data}`;
// Each provider of the gateway has one model, which has a name for the clients of either vendor.
export const OPENAI_MODELS = { chat: "gpt-4o", messages: "gpt-4o-mini", responses: "gpt-4.1" };
export const ANTHROPIC_MODELS = { chat: "claude-sonnet-4-5", messages: "claude-opus-4-5", responses: "claude-haiku-4-5" };

const UPSTREAMS = (process.env.POINTSMAN_UPSTREAMS ?? "chat messages responses").split(" ");

export const versionOf = (name) => read(`./node_modules/${name}/package.json`).version;

export class Judge {
  // Of the judge: name, version, inbound, errors by HTTP status, and ask(wants), which answers with
  // { text, calls: [{ id, name, args }], finish, usage: [input, cached, output], cost, parsed, raw }.
  modelOf = OPENAI_MODELS;
  finishes = { stop: "stop", tools: "tool_calls", length: "length" };
  extras = [];

  supports() {
    return true;
  }

  status(error) {
    return error.status;
  }

  wants(model, stream, turns, more = {}) {
    return { model, stream, turns, system: undefined, tools: false, schema: false, thinking: false, maxTokens: 1000, key: KEY, ...more };
  }

  async plain(model, stream) {
    const answer = await this.ask(this.wants(model, stream, [["user", CASES.plain.prompt]]));
    assert.equal(answer.text, CASES.plain.text);
    assert.deepEqual(answer.calls, []);
    assert.equal(answer.finish, this.finishes.stop);
    assert.deepEqual(answer.usage, [CASES.usage.input, CASES.usage.cached, CASES.usage.output]);
  }

  async conversation(model, stream) {
    const answer = await this.ask(this.wants(model, stream, CASES.conversation.turns, { system: CASES.system }));
    assert.equal(answer.text, CASES.conversation.text);
  }

  single(model, stream) {
    return this.converse(CASES.single, model, stream);
  }

  parallel(model, stream) {
    return this.converse(CASES.parallel, model, stream);
  }

  // A call of tools and the answer to their results.
  async converse(expected, model, stream, more = {}) {
    const turns = [["user", expected.prompt]];
    const answer = await this.ask(this.wants(model, stream, turns, { tools: true, ...more }));
    assert.deepEqual(answer.calls.map((call) => call.name), expected.calls.map(() => CASES.tool.name));
    assert.deepEqual(answer.calls.map((call) => call.args), expected.calls);
    assert.equal(answer.finish, this.finishes.tools);
    turns.push(["answer", answer], ["results", answer.calls.map((call) => [call, CASES.results[call.args.city]])]);
    const last = await this.ask(this.wants(model, stream, turns, { tools: true, ...more }));
    assert.equal(last.text, expected.text);
    assert.equal(last.finish, this.finishes.stop);
    return answer;
  }

  async schema(model, stream) {
    const answer = await this.ask(this.wants(model, stream, [["user", CASES.schema.prompt]], { schema: true }));
    assert.deepEqual(answer.parsed, CASES.schema.value);
  }

  async image(model, stream) {
    const answer = await this.ask(this.wants(model, stream, [["image", CASES.image.prompt]]));
    assert.equal(answer.text, CASES.image.text);
  }

  async length(model, stream) {
    const answer = await this.ask(this.wants(model, stream, [["user", CASES.length.prompt]], { maxTokens: CASES.length.max_tokens }));
    assert.equal(answer.text, CASES.length.text);
    assert.equal(answer.finish, this.finishes.length);
  }

  async cost(model, stream) {
    const answer = await this.ask(this.wants(model, stream, [["user", CASES.plain.prompt]]));
    assert.equal(answer.cost, CASES.cost);
  }

  wrong_key(model, stream) {
    return this.fails(401, this.wants(model, stream, [["user", "Hello"]], { key: "pm-wrong" }));
  }

  unknown_model(model, stream) {
    return this.fails(404, this.wants("no-such-model", stream, [["user", "Hello"]]));
  }

  async refused(model, stream) {
    const error = await this.fails(400, this.wants(model, stream, [["user", CASES.refused.prompt]]));
    assert.ok(error.message.includes(CASES.refused.message), error.message);
  }

  async fails(status, wants) {
    let answer;
    try {
      answer = await this.ask(wants);
    } catch (error) {
      assert.ok(error instanceof this.errors[status], error);
      assert.equal(this.status(error), status);
      return error;
    }
    return assert.fail(`not refused: ${JSON.stringify(answer)}`);
  }

  async run() {
    const cases = "plain conversation single parallel schema image length cost wrong_key unknown_model refused".split(" ");
    for (const upstream of UPSTREAMS) {
      for (const stream of [false, true]) {
        for (const name of [...cases, ...this.extras]) {
          if (this.supports(name, stream, upstream)) await this.report(upstream, stream, name);
        }
      }
    }
  }

  async report(upstream, stream, name) {
    const line = { judge: this.name, version: this.version, inbound: this.inbound, upstream, stream, case: name, ok: true, detail: "" };
    try {
      await this[name](this.modelOf[upstream], stream);
    } catch (error) {
      line.ok = false;
      line.detail = String(error?.stack ?? error).slice(0, 3000);
    }
    console.log(JSON.stringify(line));
  }
}
