// A tool that the model calls, buffered and streamed.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI(); // OPENAI_BASE_URL and OPENAI_API_KEY

const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Current weather of a city",
      strict: true,
      parameters: {
        type: "object",
        properties: { city: { type: "string" } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
];

const getWeather = ({ city }) => JSON.stringify({ city, weather: "sunny", celsius: 21 });

const buffered = (messages) => client.chat.completions.create({ model: "eco", messages, tools });
const streamed = (messages) => client.chat.completions.stream({ model: "eco", messages, tools }).finalChatCompletion();

async function converse(complete) {
  const messages = [{ role: "user", content: "What is the weather in Lisbon?" }];
  let called = 0;
  let choice;
  for (let turn = 0; turn < 5; turn++) {
    [choice] = (await complete(messages)).choices;
    if (choice.finish_reason !== "tool_calls") break;
    const { role, content, tool_calls } = choice.message;
    messages.push({ role, content, tool_calls });
    for (const call of tool_calls) {
      assert.equal(call.function.name, "get_weather");
      called++;
      messages.push({ role: "tool", tool_call_id: call.id, content: getWeather(JSON.parse(call.function.arguments)) });
    }
  }
  assert.ok(called >= 1, "the model called no tool");
  assert.equal(choice.finish_reason, "stop");
  assert.ok(choice.message.content);
  console.log(`${complete.name}: ${called} calls, then: ${choice.message.content}`);
}

await converse(buffered);
await converse(streamed);
