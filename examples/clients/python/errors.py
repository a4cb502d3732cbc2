"""What goes wrong, as the client's own error classes."""

import openai
from openai import OpenAI

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY


def refused(kind, status, code, param=None, client=client, **wishes):
    request = {"model": "eco", "messages": [{"role": "user", "content": "Hello"}], **wishes}
    try:
        client.chat.completions.create(**request)
    except kind as e:
        assert (e.status_code, e.code, e.param) == (status, code, param), (e.status_code, e.code, e.param)
        assert e.request_id, e.response.headers
        print(f"{type(e).__name__} {e.status_code} {e.code}: {e.body['message']}")
    else:
        raise AssertionError(f"not refused: {code}")


refused(openai.AuthenticationError, 401, "invalid_api_key", client=OpenAI(api_key="pm-wrong"))
refused(openai.NotFoundError, 404, "model_not_found", "model", model="no-such-model")
refused(openai.BadRequestError, 400, "invalid_power_level", "power_level", extra_body={"power_level": "ultra"})
refused(openai.BadRequestError, 400, "invalid_value", "max_tokens", max_tokens=-1)
# A request whose worst case the account cannot pay for. The client does not try a 402 again.
refused(openai.APIStatusError, 402, "insufficient_credits", model="gpt-6-astra", max_tokens=128_000, n=8)
refused(openai.AuthenticationError, 401, "invalid_api_key", client=OpenAI(api_key="pm-wrong"), stream=True)
refused(openai.APIStatusError, 402, "insufficient_credits", model="gpt-6-astra", max_tokens=128_000, n=8, stream=True)
