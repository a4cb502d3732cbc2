"""A stream; its last chunk carries the usage with what it cost."""

from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY

parts, finish, usage = [], None, None
with client.chat.completions.create(
    model="eco",
    messages=[{"role": "user", "content": "Explain how a railway switch works."}],
    max_tokens=200,
    stream=True,
    stream_options={"include_usage": True},
) as stream:
    for chunk in stream:
        assert usage is None, "the chunk with the usage is the last"
        for choice in chunk.choices:
            parts.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
            print(choice.delta.content or "", end="", flush=True)
        usage = chunk.usage

assert "".join(parts), "no text came"
assert finish == "stop", finish
assert usage and usage.total_tokens > 0, usage
assert float(usage.credits) >= 0 and usage.cost >= 0, usage
print(f"\n{usage.total_tokens} tokens, {usage.credits} credits, {usage.cost} USD")
