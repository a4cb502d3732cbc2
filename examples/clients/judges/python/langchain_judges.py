"""LangChain: chat completions and Responses by langchain-openai, Messages by langchain-anthropic."""

from functools import cache
from importlib.metadata import version

import anthropic
import openai
from harness import ANTHROPIC_MODELS, BASE_URL, CASES, Answer, Call, Judge, Person, Wants, same
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI

TOOL = StructuredTool.from_function(
    lambda **_: None,
    name=CASES["tool"]["name"],
    description=CASES["tool"]["description"],
    args_schema=CASES["tool"]["parameters"],
)


class LangChain(Judge):
    extras = ["async"]

    @cache
    def llm(self, model, max_tokens, key):
        raise NotImplementedError

    def messages(self, wants: Wants):
        out = [SystemMessage(wants.system)] if wants.system else []
        for kind, value in wants.turns:
            if kind == "answer":
                out.append(value.raw)
            elif kind == "results":
                out += [ToolMessage(text, tool_call_id=call.id) for call, text in value]
            elif kind == "image":
                image = {"type": "image", "base64": CASES["image"]["data"], "mime_type": CASES["image"]["media_type"]}
                out.append(HumanMessage([{"type": "text", "text": value}, image]))
            else:
                out.append((AIMessage if kind == "assistant" else HumanMessage)(value))
        return out

    def runnable(self, wants):
        llm = self.llm(wants.model, wants.max_tokens, wants.key, **({"thinking": True} if wants.thinking else {}))
        if wants.tools:
            return llm.bind_tools([TOOL])
        return llm.with_structured_output(Person, method="json_schema") if wants.schema else llm

    def ask(self, wants):
        runnable, messages = self.runnable(wants), self.messages(wants)
        if not wants.stream:
            return self.answer(runnable.invoke(messages))
        whole = None
        for part in runnable.stream(messages):
            whole = part if whole is None or wants.schema else whole + part
        return self.answer(whole)

    async def ask_async(self, wants):
        runnable, messages = self.runnable(wants), self.messages(wants)
        if not wants.stream:
            return self.answer(await runnable.ainvoke(messages))
        whole = None
        async for part in runnable.astream(messages):
            whole = part if whole is None else whole + part
        return self.answer(whole)

    def answer(self, message):
        if isinstance(message, Person):
            return Answer(parsed=message)
        calls = [Call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
        usage = message.usage_metadata
        counts = (usage["input_tokens"], usage.get("input_token_details", {}).get("cache_read", 0), usage["output_tokens"])
        meta = message.response_metadata
        return Answer(message.text, calls, self.finish(meta), counts, self.cost(meta), None, message)

    def finish(self, meta):
        return meta["finish_reason"]

    def cost(self, meta):
        return meta.get("token_usage", {}).get("cost")


class Chat(LangChain):
    name = "langchain-openai"
    version = version("langchain-openai")
    inbound = "chat"
    errors = {400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError}

    def supports(self, case, stream, upstream):
        return not (case == "cost" and stream)  # of a streamed answer it keeps the counts alone

    @cache
    def llm(self, model, max_tokens, key):
        return ChatOpenAI(model=model, base_url=BASE_URL + "/v1", api_key=key, max_tokens=max_tokens, stream_usage=True)


class Responses(Chat):
    inbound = "responses"
    finishes = {"stop": "completed", "tools": "completed", "length": "incomplete: max_output_tokens"}

    @cache
    def llm(self, model, max_tokens, key):
        return ChatOpenAI(model=model, base_url=BASE_URL + "/v1", api_key=key, max_tokens=max_tokens, use_responses_api=True)

    def supports(self, case, stream, upstream):
        return case != "cost"  # it keeps the counts alone

    def finish(self, meta):
        return ": ".join([meta["status"], *(meta.get("incomplete_details") or {}).values()])

    def cost(self, meta):
        return None


class Messages(LangChain):
    name = "langchain-anthropic"
    version = version("langchain-anthropic")
    inbound = "messages"
    models = ANTHROPIC_MODELS
    finishes = {"stop": "end_turn", "tools": "tool_use", "length": "max_tokens"}
    errors = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 404: anthropic.NotFoundError}

    extras = ["async", "thinking"]

    def supports(self, case, stream, upstream):
        if case == "thinking":
            return upstream == "messages"
        return not (case == "cost" and stream)  # of a streamed answer it keeps the counts alone

    @cache
    def llm(self, model, max_tokens, key, thinking=False):
        more = {"thinking": {"type": "enabled", "budget_tokens": CASES["thinking"]["budget_tokens"]}} if thinking else {}
        return ChatAnthropic(model=model, base_url=BASE_URL, api_key=key, max_tokens=max_tokens, **more)

    def case_thinking(self, model, stream):
        case = CASES["thinking"]
        answer = self.converse(CASES["single"], model, stream, thinking=True, max_tokens=case["max_tokens"])
        block = answer.raw.content[0]
        same("thinking", (block["type"], block["thinking"], block["signature"]), ("thinking", case["text"], case["signature"]))

    def finish(self, meta):
        return meta["stop_reason"]

    def cost(self, meta):
        return meta.get("usage", {}).get("cost")


JUDGES = [Chat(), Responses(), Messages()]
