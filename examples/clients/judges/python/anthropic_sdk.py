"""anthropic-python: Messages."""

from functools import cache

import anthropic
from harness import ANTHROPIC_MODELS, BASE_URL, CASES, KEY, Answer, Call, Judge, Person, Wants, same


class Messages(Judge):
    name = "anthropic-python"
    version = anthropic.__version__
    inbound = "messages"
    models = ANTHROPIC_MODELS
    finishes = {"stop": "end_turn", "tools": "tool_use", "length": "max_tokens"}
    errors = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 404: anthropic.NotFoundError}
    extras = ["async", "thinking", "count_tokens", "models"]
    tools = [{"name": CASES["tool"]["name"], "description": CASES["tool"]["description"], "input_schema": CASES["tool"]["parameters"]}]

    def supports(self, case, stream, upstream):
        if case == "thinking":
            return upstream == "messages"
        return not stream or case not in ("count_tokens", "models")

    @cache
    def client(self, key=KEY):
        return anthropic.Anthropic(base_url=BASE_URL, api_key=key)

    def request(self, wants: Wants):
        request = {"model": wants.model, "messages": self.messages(wants), "max_tokens": wants.max_tokens}
        if wants.system:
            request["system"] = wants.system
        if wants.tools:
            request["tools"] = self.tools
        if wants.thinking:
            request["thinking"] = {"type": "enabled", "budget_tokens": CASES["thinking"]["budget_tokens"]}
        return request

    def messages(self, wants):
        out = []
        for kind, value in wants.turns:
            if kind == "answer":
                out.append({"role": "assistant", "content": value.raw})
            elif kind == "results":
                results = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in value]
                out.append({"role": "user", "content": results})
            elif kind == "image":
                source = {"type": "base64", "media_type": CASES["image"]["media_type"], "data": CASES["image"]["data"]}
                out.append({"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": value}]})
            else:
                out.append({"role": kind, "content": value})
        return out

    def ask(self, wants):
        messages, request = self.client(wants.key).messages, self.request(wants)
        if wants.schema:
            request["output_format"] = Person
        if wants.stream:
            return self.streamed(messages, request)
        return self.answer(messages.parse(**request) if wants.schema else messages.create(**request))

    def streamed(self, messages, request):
        """A stream, whose last usage has what the client does not keep: the price."""
        cost = None
        with messages.stream(**request) as stream:
            for event in stream:
                if event.type == "message_delta":
                    cost = getattr(event.usage, "cost", None)
            answer = self.answer(stream.get_final_message())
        answer.cost = cost
        return answer

    async def ask_async(self, wants):
        messages, request = anthropic.AsyncAnthropic(base_url=BASE_URL, api_key=wants.key).messages, self.request(wants)
        if not wants.stream:
            return self.answer(await messages.create(**request))
        async with messages.stream(**request) as stream:
            return self.answer(await stream.get_final_message())

    def answer(self, message):
        usage = message.usage
        calls = [Call(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
        text = "".join(b.text for b in message.content if b.type == "text")
        cached = usage.cache_read_input_tokens or 0
        counts = (usage.input_tokens + cached, cached, usage.output_tokens)
        parsed = getattr(message, "parsed_output", None)
        return Answer(text, calls, message.stop_reason, counts, getattr(usage, "cost", None), parsed, message.content)

    def case_thinking(self, model, stream):
        case = CASES["thinking"]
        answer = self.converse(CASES["single"], model, stream, thinking=True, max_tokens=case["max_tokens"])
        block = answer.raw[0]
        same("thinking", (block.type, block.thinking, block.signature), ("thinking", case["text"], case["signature"]))

    def case_count_tokens(self, model, stream):
        wants = Wants(model, False, [("user", CASES["plain"]["prompt"])])
        count = self.client(wants.key).messages.count_tokens(model=model, messages=self.messages(wants)).input_tokens
        assert 5 <= count <= 40, count

    def case_models(self, model, stream):
        client = self.client()
        assert model in [m.id for m in client.models.list()], "the model is not listed"
        found = client.models.retrieve(model)
        same("model", (found.id, found.type), (model, "model"))


JUDGES = [Messages()]
