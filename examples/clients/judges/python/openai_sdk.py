"""openai-python: chat completions and Responses."""

import json
from functools import cache

import openai
from harness import BASE_URL, CASES, IMAGE_URL, KEY, Answer, Call, Judge, Person, Wants, same

ERRORS = {400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError}


class OpenAIJudge(Judge):
    name = "openai-python"
    version = openai.__version__
    errors = ERRORS

    @cache
    def client(self, key=KEY):
        return openai.OpenAI(base_url=BASE_URL + "/v1", api_key=key)

    def async_client(self, wants):
        return openai.AsyncOpenAI(base_url=BASE_URL + "/v1", api_key=wants.key)


class Chat(OpenAIJudge):
    inbound = "chat"
    extras = ["async", "raw_stream", "reasoning", "models", "power_levels", "gateway_errors", "embeddings"]
    tools = [{"type": "function", "function": {**CASES["tool"], "strict": True}}]

    def supports(self, case, stream, upstream):
        if case == "reasoning":
            return upstream == "messages"
        if case in ("power_levels", "gateway_errors"):  # what no provider has to do with
            return upstream == "chat"
        if case == "embeddings":
            return upstream == "chat" and not stream
        return case not in ("raw_stream", "models") or stream == (case == "raw_stream")

    def request(self, wants: Wants):
        request = {"model": wants.model, "messages": self.messages(wants), "max_tokens": wants.max_tokens}
        if wants.tools:
            request["tools"] = self.tools
        if wants.thinking:
            request["reasoning_effort"] = "low"
        if wants.stream:
            request["stream_options"] = {"include_usage": True}
        return request

    def messages(self, wants):
        out = [{"role": "system", "content": wants.system}] if wants.system else []
        for kind, value in wants.turns:
            if kind == "answer":
                out.append(value.raw)  # the message object itself, as the documentation does
            elif kind == "results":
                out += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in value]
            elif kind == "image":
                parts = [{"type": "text", "text": value}, {"type": "image_url", "image_url": {"url": IMAGE_URL}}]
                out.append({"role": "user", "content": parts})
            else:
                out.append({"role": kind, "content": value})
        return out

    def ask(self, wants):
        chat, request = self.client(wants.key).chat.completions, self.request(wants)
        if wants.stream:
            if wants.schema:
                request["response_format"] = Person
            with chat.stream(**request) as stream:
                try:
                    return self.answer(stream.get_final_completion())
                except openai.LengthFinishReasonError as e:  # what the client makes of a parsed answer that is cut
                    return self.answer(e.completion)
        if wants.schema:
            return self.answer(chat.parse(response_format=Person, **request))
        return self.answer(chat.create(**request))

    async def ask_async(self, wants):
        chat, request = self.async_client(wants).chat.completions, self.request(wants)
        if not wants.stream:
            return self.answer(await chat.create(**request))
        async with chat.stream(**request) as stream:
            return self.answer(await stream.get_final_completion())

    def answer(self, completion):
        choice, usage = completion.choices[0], completion.usage
        message = choice.message
        calls = [Call(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]
        counts = (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens)
        same("total", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        parsed = getattr(message, "parsed", None)
        if hasattr(message, "parsed"):  # a parsed message has fields of the client's own, which no API takes
            message = message.to_dict()
            message.pop("parsed", None)
            for call in message.get("tool_calls") or []:
                call.pop("index", None)
                call["function"].pop("parsed_arguments", None)
        return Answer(choice.message.content, calls, choice.finish_reason, counts, usage.cost, parsed, message)

    def case_raw_stream(self, model, stream):
        """The chunks as they come: one role, the text, one finish, and the usage last."""
        wants = Wants(model, True, [("user", CASES["plain"]["prompt"])])
        text, finishes, usages, roles = "", [], [], []
        for chunk in self.client(wants.key).chat.completions.create(stream=True, **self.request(wants)):
            same("object", chunk.object, "chat.completion.chunk")
            assert not usages, "the usage is not last"
            if chunk.usage:
                usages.append(chunk.usage)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finishes += [choice.finish_reason] if choice.finish_reason else []
                roles += [choice.delta.role] if choice.delta.role else []
        same("text", text, CASES["plain"]["text"])
        same("finish", finishes, ["stop"])
        same("roles", roles, ["assistant"])
        same("usages", len(usages), 1)

    def case_reasoning(self, model, stream):
        """Thinking of an Anthropic model comes beside the content, and goes back with its signature."""
        answer = self.converse(CASES["single"], model, stream, thinking=True, max_tokens=CASES["thinking"]["max_tokens"])
        message = answer.raw if stream else answer.raw.to_dict()
        same("reasoning", message["reasoning_content"], CASES["thinking"]["text"])
        same("signature", message["thinking_blocks"][0]["signature"], CASES["thinking"]["signature"])

    def case_models(self, model, stream):
        client = self.client()
        assert model in [m.id for m in client.models.list()], "the model is not listed"
        same("id", client.models.retrieve(model).id, model)

    def case_embeddings(self, model, stream):
        case = CASES["embeddings"]
        found = self.client().embeddings.create(model="text-embedding-3-small", input=case["texts"])
        same("vectors", [item.embedding for item in found.data], [case["vector"]] * len(case["texts"]))
        same("tokens", found.usage.total_tokens, CASES["usage"]["input"])

    def case_power_levels(self, model, stream):
        """A power level as the model's name, as a field beside it, and a model by its own name."""
        for request, header, value in [
            ({"model": "eco"}, "power-level", "eco"),
            ({"model": "auto", "extra_body": {"power_level": "eco"}}, "power-level", "eco"),
            ({"model": model}, "model", model),
        ]:
            messages = [{"role": "user", "content": CASES["plain"]["prompt"]}]
            raw = self.client().chat.completions.with_raw_response.create(messages=messages, stream=stream, **request)
            same(header, raw.headers["x-pointsman-" + header], value)
            assert raw.headers["x-request-id"], raw.headers
            answer = raw.parse()
            if stream:
                assert list(answer), "an empty stream"
            else:
                same("price", float(answer.usage.credits), float(raw.headers["x-pointsman-credits"]))

    def case_gateway_errors(self, model, stream):
        """What the gateway itself refuses, with its code and the field."""
        # The worst case of the dear request is more than the account can pay for. The client does not try a 402 again.
        for request, kind, status, code, param in [
            ({"extra_body": {"power_level": "ultra"}}, openai.BadRequestError, 400, "invalid_power_level", "power_level"),
            ({"max_tokens": -1}, openai.BadRequestError, 400, "invalid_value", "max_tokens"),
            ({"model": "dear", "max_tokens": 16384, "n": 8}, openai.APIStatusError, 402, "insufficient_credits", None),
        ]:
            request = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream, **request}
            try:
                self.client().chat.completions.create(**request)
            except kind as e:
                same("error", (e.status_code, e.code, e.param), (status, code, param))
                assert e.request_id, e.response.headers
            else:
                raise AssertionError(f"not refused: {code}")


class Responses(OpenAIJudge):
    inbound = "responses"
    finishes = {"stop": "completed", "tools": "completed", "length": "incomplete: max_output_tokens"}
    extras = ["async", "events", "reasoning"]
    tools = [{"type": "function", **CASES["tool"], "strict": True}]

    def supports(self, case, stream, upstream):
        if case == "reasoning":
            return upstream == "messages"
        return stream or case != "events"

    def request(self, wants):
        request = {"model": wants.model, "input": self.input(wants), "max_output_tokens": wants.max_tokens, "store": False}
        if wants.system:
            request["instructions"] = wants.system
        if wants.tools:
            request["tools"] = self.tools
        if wants.thinking:
            request["reasoning"] = {"effort": "low"}
        return request

    def input(self, wants):
        if len(wants.turns) == 1 and wants.turns[0][0] == "user":
            return wants.turns[0][1]
        out = []
        for kind, value in wants.turns:
            if kind == "answer":
                out += value.raw
            elif kind == "results":
                out += [{"type": "function_call_output", "call_id": call.id, "output": text} for call, text in value]
            elif kind == "image":
                parts = [{"type": "input_text", "text": value}, {"type": "input_image", "image_url": IMAGE_URL, "detail": "auto"}]
                out.append({"role": "user", "content": parts})
            else:
                out.append({"role": kind, "content": value})
        return out

    def ask(self, wants):
        responses, request = self.client(wants.key).responses, self.request(wants)
        if wants.schema:
            request["text_format"] = Person
        if wants.stream:
            with responses.stream(**request) as stream:
                for event in stream:  # the client's get_final_response takes nothing but response.completed
                    if event.type in ("response.completed", "response.incomplete"):
                        return self.answer(event.response)
            raise AssertionError("no last event")
        return self.answer(responses.parse(**request) if wants.schema else responses.create(**request))

    async def ask_async(self, wants):
        responses, request = self.async_client(wants).responses, self.request(wants)
        if not wants.stream:
            return self.answer(await responses.create(**request))
        async with responses.stream(**request) as stream:
            return self.answer(await stream.get_final_response())

    def answer(self, response):
        usage = response.usage
        calls = [Call(item.call_id, item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"]
        finish = response.status
        if response.incomplete_details:
            finish += ": " + response.incomplete_details.reason
        counts = (usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens)
        parsed = getattr(response, "output_parsed", None)
        return Answer(response.output_text, calls, finish, counts, usage.cost, parsed, response.output)

    def case_reasoning(self, model, stream):
        """Thinking of an Anthropic model comes as a summary; it may go back, though without the signature it ends there."""
        answer = self.converse(CASES["single"], model, stream, thinking=True, max_tokens=CASES["thinking"]["max_tokens"])
        same("reasoning", (answer.raw[0].type, answer.raw[0].summary[0].text), ("reasoning", CASES["thinking"]["text"]))

    def case_events(self, model, stream):
        """The events as they come, in their order and numbered."""
        wants = Wants(model, True, [("user", CASES["plain"]["prompt"])])
        names, text = [], ""
        for number, event in enumerate(self.client(wants.key).responses.create(stream=True, **self.request(wants))):
            same("sequence_number", event.sequence_number, number)
            if event.type == "response.output_text.delta":
                text += event.delta
            if not names or names[-1] != event.type:
                names.append(event.type)
        same("text", text, CASES["plain"]["text"])
        steps = "created in_progress output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done completed"
        same("events", names, ["response." + step for step in steps.split()])


JUDGES = [Chat(), Responses()]
