// The models that the key may use, with their prices.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI(); // OPENAI_BASE_URL and OPENAI_API_KEY

const models = (await client.models.list()).data;
assert.ok(models.length > 0, "no model is listed");
for (const model of models) {
  assert.equal(model.object, "model");
  assert.ok(model.tier >= 0 && model.tier <= 5);
  console.log(`tier ${model.tier}  ${model.credits_per_1k.padStart(8)} credits/1k  ${model.id}`);
}

const one = await client.models.retrieve(models[0].id);
assert.equal(one.id, models[0].id);
assert.equal(one.tier, models[0].tier);
