"""LlamaIndex: chat completions and Responses by llama-index-llms-openai, Messages by llama-index-llms-anthropic."""

import base64
from functools import cache
from importlib.metadata import version

import anthropic
import openai
from harness import ANTHROPIC_MODELS, BASE_URL, CASES, Answer, Call, Judge, Person, Wants
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel


class Weather(BaseModel):
    city: str
    days: int
    note: str


TOOL = FunctionTool.from_defaults(
    lambda **_: None,
    name=CASES["tool"]["name"],
    description=CASES["tool"]["description"],
    fn_schema=Weather,
)


class LlamaIndex(Judge):
    extras = ["async"]
    finishes = {"stop": "stop", "tools": "tool_calls", "length": "length"}

    @cache
    def llm(self, model, max_tokens, key):
        raise NotImplementedError

    def messages(self, wants: Wants):
        out = [ChatMessage(role="system", content=wants.system)] if wants.system else []
        for kind, value in wants.turns:
            if kind == "answer":
                out.append(value.raw)
            elif kind == "results":
                out += [ChatMessage(role="tool", content=text, additional_kwargs={"tool_call_id": call.id}) for call, text in value]
            elif kind == "image":
                image = ImageBlock(image=base64.b64decode(CASES["image"]["data"]), image_mimetype=CASES["image"]["media_type"])
                out.append(ChatMessage(role="user", blocks=[TextBlock(text=value), image]))
            else:
                out.append(ChatMessage(role=kind, content=value))
        return out

    def ask(self, wants):
        llm = self.llm(wants.model, wants.max_tokens, wants.key)
        if wants.schema:
            prompt = PromptTemplate(wants.turns[0][1])
            if wants.stream:
                return Answer(parsed=list(llm.stream_structured_predict(Person, prompt))[-1])
            return Answer(parsed=llm.structured_predict(Person, prompt))
        messages = self.messages(wants)
        if wants.tools:
            more = {"tools": [TOOL], "chat_history": messages, "allow_parallel_tool_calls": True}
            parts = llm.stream_chat_with_tools(**more) if wants.stream else [llm.chat_with_tools(**more)]
        else:
            parts = llm.stream_chat(messages) if wants.stream else [llm.chat(messages)]
        return self.answer(llm, list(parts))

    async def ask_async(self, wants):
        llm, messages = self.llm(wants.model, wants.max_tokens, wants.key), self.messages(wants)
        if not wants.stream:
            return self.answer(llm, [await llm.achat(messages)])
        return self.answer(llm, [part async for part in await llm.astream_chat(messages)])

    def answer(self, llm, parts):
        last = parts[-1]
        calls = [Call(c.tool_id, c.tool_name, c.tool_kwargs) for c in llm.get_tool_calls_from_response(last, error_on_no_tool_call=False)]
        finish, usage = self.ending([part.raw for part in parts])
        text = last.message.content if len(parts) == 1 else "".join(part.delta or "" for part in parts)
        return Answer(text or "", calls, finish, self.counts(usage), getattr(usage, "cost", None), None, last.message)


class Chat(LlamaIndex):
    name = "llama-index-llms-openai"
    version = version("llama-index-llms-openai")
    inbound = "chat"
    errors = {400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError}

    @cache
    def llm(self, model, max_tokens, key):
        more = {"stream_options": {"include_usage": True}}
        return OpenAI(model=model, api_base=BASE_URL + "/v1", api_key=key, max_tokens=max_tokens, additional_kwargs=more)

    def ending(self, raw):
        choices = [choice for part in raw for choice in part.choices]
        return [c.finish_reason for c in choices if c.finish_reason][-1], raw[-1].usage

    def counts(self, usage):
        return (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens)


class Responses(Chat):
    inbound = "responses"
    finishes = {"stop": "completed", "tools": "completed", "length": "incomplete"}

    def supports(self, case, stream, upstream):
        return not (case == "schema" and stream)  # it looks for calls where its own class for this API does not put them

    @cache
    def llm(self, model, max_tokens, key):
        return OpenAIResponses(model=model, api_base=BASE_URL + "/v1", api_key=key, max_output_tokens=max_tokens)

    def ending(self, raw):
        response = getattr(raw[-1], "response", raw[-1])
        return response.status, response.usage

    def counts(self, usage):
        return (usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens)


class Messages(LlamaIndex):
    name = "llama-index-llms-anthropic"
    version = version("llama-index-llms-anthropic")
    inbound = "messages"
    models = ANTHROPIC_MODELS
    finishes = {"stop": "end_turn", "tools": "tool_use", "length": "max_tokens"}
    errors = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 404: anthropic.NotFoundError}

    @cache
    def llm(self, model, max_tokens, key):
        return Anthropic(model=model, base_url=BASE_URL, api_key=key, max_tokens=max_tokens)

    def ending(self, raw):
        last = raw[-1]
        return (last["delta"].stop_reason if "delta" in last else last["stop_reason"]), last["usage"]

    def counts(self, usage):
        cached = usage.cache_read_input_tokens or 0
        return (usage.input_tokens + cached, cached, usage.output_tokens)


JUDGES = [Chat(), Responses(), Messages()]
