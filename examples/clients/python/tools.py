"""A tool that the model calls, buffered and streamed."""

import json

from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather of a city",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


def get_weather(city):
    return json.dumps({"city": city, "weather": "sunny", "celsius": 21})


def buffered(messages):
    return client.chat.completions.create(model="eco", messages=messages, tools=TOOLS)


def streamed(messages):
    with client.chat.completions.stream(model="eco", messages=messages, tools=TOOLS) as stream:
        return stream.get_final_completion()


def converse(complete):
    messages = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    called = 0
    for _ in range(5):
        choice = complete(messages).choices[0]
        if choice.finish_reason != "tool_calls":
            break
        messages.append(choice.message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
        for call in choice.message.tool_calls:
            assert call.function.name == "get_weather", call
            called += 1
            result = get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert called >= 1, "the model called no tool"
    assert choice.finish_reason == "stop" and choice.message.content, choice
    print(f"{complete.__name__}: {called} calls, then: {choice.message.content}")


converse(buffered)
converse(streamed)
