"""The models that the key may use, with their prices."""

from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY

models = client.models.list().data
assert models, "no model is listed"
for model in models:
    assert model.object == "model" and model.tier in range(6), model
    print(f"tier {model.tier}  {model.credits_per_1k:>8} credits/1k  {model.id}")

one = client.models.retrieve(models[0].id)
assert one.id == models[0].id and one.tier == models[0].tier, one
