"""A power level as the model's name, as a field beside it, and a model by its own name."""

from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY


def ask(**wishes):
    raw = client.chat.completions.with_raw_response.create(
        messages=[{"role": "user", "content": "Name three rivers of Europe."}], max_tokens=100, **wishes
    )
    answer, headers = raw.parse(), raw.headers
    assert answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason == "stop", answer
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0, usage
    assert float(usage.credits) == float(headers["x-pointsman-credits"]), usage
    assert usage.cost >= 0, usage
    assert headers["x-request-id"], headers
    print(
        f"{headers['x-pointsman-power-level']}: {headers['x-pointsman-model']} at {headers['x-pointsman-provider']},"
        f" {usage.total_tokens} tokens, {usage.credits} credits: {answer.choices[0].message.content}"
    )
    return headers


assert ask(model="eco")["x-pointsman-power-level"] == "eco"
assert ask(model="auto", extra_body={"power_level": "eco"})["x-pointsman-power-level"] == "eco"
assert ask(model="gpt-4o")["x-pointsman-model"] == "gpt-4o"
