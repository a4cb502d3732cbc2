#!/usr/bin/env python3
"""A provider plugin in Python: one proxied adapter, which says the last message back instead of asking a provider.

pointsman_plugin.py beside it speaks with the gateway; what is yours is here."""

import json

from pointsman_plugin import Refused, SettingError, serve


class Parrot:
    name = "parrot-python"
    version = "0.1.0"
    summary = "Says it back (a proxied adapter in Python)"

    def prepare(self, request, endpoint):
        """Fills in the endpoint from the operator's settings; a setting that is wrong is named. No I/O here."""
        for setting in request.settings:
            if setting != "prefix":
                raise SettingError(f"{setting} is not known; known is prefix")
        endpoint.mode, endpoint.dialect = "proxied", "openai"
        endpoint.paths["chat"] = "/chat/completions"
        endpoint.body.stream_usage = True
        # What the status alone does not say of an error. It decides whether the gateway tries another model.
        endpoint.errors.add(status=400, contains="too long", **{"class": "context_length"})
        endpoint.errors.add(status=400, contains="not allowed to say", **{"class": "content_filter"})

    def call(self, request, cancelled):
        """Answers one call: yields the body, or one event at a time if request.stream. request.credential is for this
        call only. cancelled() tells that nobody waits any more. Refused is an error answer of the provider."""
        try:
            text = json.loads(request.body)["messages"][-1]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise Refused(400, {"error": {"message": "messages of text are needed", "type": "invalid_request_error"}}) from None
        text = request.settings.get("prefix", "") + text
        tokens = len(text) // 4 + 1
        usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}
        head = {"id": request.request_id, "created": 0, "model": request.model}
        if not request.stream:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            yield {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return
        head["object"] = "chat.completion.chunk"
        for word in text.split(" "):
            if cancelled():
                return
            yield {**head, "choices": [{"index": 0, "delta": {"content": word + " "}}]}
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield {**head, "choices": [], "usage": usage}


if __name__ == "__main__":
    serve(Parrot())
