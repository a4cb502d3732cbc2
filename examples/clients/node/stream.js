// A stream; its last chunk carries the usage with what it cost.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI(); // OPENAI_BASE_URL and OPENAI_API_KEY

const stream = await client.chat.completions.create({
  model: "eco",
  messages: [{ role: "user", content: "Explain how a railway switch works." }],
  max_tokens: 200,
  stream: true,
  stream_options: { include_usage: true },
});

let text = "";
let finish, usage;
for await (const chunk of stream) {
  assert.ok(!usage, "the chunk with the usage is the last");
  for (const choice of chunk.choices) {
    text += choice.delta.content ?? "";
    finish = choice.finish_reason ?? finish;
    process.stdout.write(choice.delta.content ?? "");
  }
  usage = chunk.usage;
}

assert.ok(text, "no text came");
assert.equal(finish, "stop");
assert.ok(usage?.total_tokens > 0);
assert.ok(Number(usage.credits) >= 0 && usage.cost >= 0);
console.log(`\n${usage.total_tokens} tokens, ${usage.credits} credits, ${usage.cost} USD`);
