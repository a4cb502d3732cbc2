// What goes wrong, as the client's own error classes.
import assert from "node:assert/strict";
import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError } from "openai";

const client = new OpenAI(); // OPENAI_BASE_URL and OPENAI_API_KEY
const stranger = new OpenAI({ apiKey: "pm-wrong" });

async function refused(kind, status, code, param, wishes, by = client) {
  try {
    await by.chat.completions.create({ model: "eco", messages: [{ role: "user", content: "Hello" }], ...wishes });
  } catch (e) {
    assert.ok(e instanceof kind, e);
    assert.deepEqual([e.status, e.code, e.param], [status, code, param]);
    assert.ok(e.requestID);
    console.log(`${e.constructor.name} ${e.status} ${e.code}: ${e.error.message}`);
    return;
  }
  assert.fail(`not refused: ${code}`);
}

// The worst case of this request is more than the account can pay for. The client does not try a 402 again.
const dear = { model: "gpt-6-astra", max_tokens: 128000, n: 8 };

await refused(AuthenticationError, 401, "invalid_api_key", null, {}, stranger);
await refused(NotFoundError, 404, "model_not_found", "model", { model: "no-such-model" });
await refused(BadRequestError, 400, "invalid_power_level", "power_level", { power_level: "ultra" });
await refused(BadRequestError, 400, "invalid_value", "max_tokens", { max_tokens: -1 });
await refused(APIError, 402, "insufficient_credits", null, dear);
await refused(AuthenticationError, 401, "invalid_api_key", null, { stream: true }, stranger);
await refused(APIError, 402, "insufficient_credits", null, { ...dear, stream: true });
