"""Instructor: objects by a schema and by a tool, over the clients of both vendors."""

from functools import cache
from importlib.metadata import version

import anthropic
import instructor
import openai
from harness import ANTHROPIC_MODELS, BASE_URL, CASES, Answer, Judge, Person, Wants
from instructor.core import InstructorRetryException


class Instructor(Judge):
    name = "instructor"
    version = version("instructor")
    cases = "tools_mode wrong_key unknown_model refused".split()
    errors = dict.fromkeys((400, 401, 404), InstructorRetryException)
    schema_mode: instructor.Mode
    tools_mode: instructor.Mode

    def client(self, mode, key):
        raise NotImplementedError


    def status(self, error):
        return error.__cause__.status_code if hasattr(error.__cause__, "status_code") else error.failed_attempts[-1].exception.status_code

    def ask(self, wants: Wants, mode=None):
        chat = self.client(mode or self.tools_mode, wants.key).chat.completions
        request = self.request(wants)
        if not wants.stream:
            return Answer(parsed=chat.create(**request))
        return Answer(parsed=list(chat.create_partial(**request))[-1])

    def request(self, wants):
        messages = [{"role": kind, "content": text} for kind, text in wants.turns]
        return {"model": wants.model, "messages": messages, "max_tokens": wants.max_tokens, "response_model": Person, "max_retries": 1}

    def check(self, found):
        value = found.model_dump()
        assert value == CASES["schema"]["value"], value

    def case_schema(self, model, stream):
        self.check(self.ask(Wants(model, stream, [("user", CASES["schema"]["prompt"])]), self.schema_mode).parsed)

    def case_tools_mode(self, model, stream):
        self.check(self.ask(Wants(model, stream, [("user", CASES["schema"]["prompt"])])).parsed)


class Chat(Instructor):
    inbound = "chat"
    cases = ["schema", *Instructor.cases]
    schema_mode = instructor.Mode.JSON_SCHEMA
    tools_mode = instructor.Mode.TOOLS

    @cache
    def client(self, mode, key):
        return instructor.from_openai(openai.OpenAI(base_url=BASE_URL + "/v1", api_key=key), mode=mode)


class Messages(Instructor):
    inbound = "messages"
    models = ANTHROPIC_MODELS
    tools_mode = instructor.Mode.TOOLS

    @cache
    def client(self, mode, key):
        return instructor.from_anthropic(anthropic.Anthropic(base_url=BASE_URL, api_key=key), mode=mode)


JUDGES = [Chat(), Messages()]
