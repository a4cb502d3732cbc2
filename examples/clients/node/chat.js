// A power level as the model's name, as a field beside it, and a model by its own name.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI(); // OPENAI_BASE_URL and OPENAI_API_KEY

async function ask(wishes) {
  const { data: answer, response } = await client.chat.completions
    .create({ messages: [{ role: "user", content: "Name three rivers of Europe." }], max_tokens: 100, ...wishes })
    .withResponse();
  const header = (name) => response.headers.get(`x-pointsman-${name}`);
  const [choice] = answer.choices;
  assert.ok(choice.message.content);
  assert.equal(choice.finish_reason, "stop");
  const { usage } = answer;
  assert.ok(usage.total_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.equal(Number(usage.credits), Number(header("credits")));
  assert.ok(usage.cost >= 0);
  assert.ok(response.headers.get("x-request-id"));
  console.log(
    `${header("power-level")}: ${header("model")} at ${header("provider")}, ${usage.total_tokens} tokens, ` +
      `${usage.credits} credits: ${choice.message.content}`,
  );
  return header;
}

assert.equal((await ask({ model: "eco" }))("power-level"), "eco");
assert.equal((await ask({ model: "auto", power_level: "eco" }))("power-level"), "eco");
assert.equal((await ask({ model: "gpt-4o" }))("model"), "gpt-4o");
