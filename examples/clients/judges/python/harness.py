"""What the judges of all Python clients share: the cases, and how they are run and reported.

A judge is one client with one of its APIs. It turns the turns of a conversation into the client's own calls and says what
came back; whether that is right is decided here, by ../cases.json, which the providers behind the gateway keep to.
"""

import asyncio
import json
import os
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

CASES = json.loads((Path(__file__).parent.parent / "cases.json").read_text("utf-8"))
BASE_URL = os.environ["POINTSMAN_BASE_URL"]
KEY = os.environ["POINTSMAN_API_KEY"]
UPSTREAMS = os.environ.get("POINTSMAN_UPSTREAMS", "chat messages responses").split()
# Each provider of the gateway has one model. Some clients know models by name only, so each has names of both vendors too.
OPENAI_MODELS = {"chat": "gpt-4o", "messages": "gpt-4o-mini", "responses": "gpt-4.1"}
ANTHROPIC_MODELS = {"chat": "claude-sonnet-4-5", "messages": "claude-opus-4-5", "responses": "claude-haiku-4-5"}
IMAGE_URL = f"data:{CASES['image']['media_type']};base64,{CASES['image']['data']}"


class Person(BaseModel):
    """A person."""

    model_config = ConfigDict(extra="forbid")

    name: str
    age: int
    languages: list[str]


@dataclass
class Call:
    id: str
    name: str
    args: dict


@dataclass
class Answer:
    text: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str | None = None  # in the client's words
    usage: tuple[int, int, int] | None = None  # input with the cached part, the cached part, output; None if it is not told
    cost: Any = None
    parsed: Any = None
    raw: Any = None  # what the client wants back in the next turn


@dataclass
class Wants:
    """One request."""

    model: str
    stream: bool
    turns: list  # ("user", text), ("assistant", text), ("image", text), ("answer", Answer), ("results", [(Call, text)])
    system: str | None = None
    tools: bool = False
    schema: bool = False
    thinking: bool = False
    max_tokens: int = 1000
    key: str = KEY


class Judge:
    name = ""
    version = ""
    inbound = ""
    models = OPENAI_MODELS
    finishes = {"stop": "stop", "tools": "tool_calls", "length": "length"}
    errors: dict[int, type[Exception]] = {}  # by HTTP status
    cases = "plain conversation single parallel schema image length cost wrong_key unknown_model refused".split()
    extras: list[str] = []  # methods case_NAME(model, stream) of this judge alone

    def ask(self, wants: Wants) -> Answer:
        raise NotImplementedError

    async def ask_async(self, wants: Wants) -> Answer:
        raise NotImplementedError

    def status(self, error: Exception) -> int:
        """The HTTP status that an error tells."""
        return error.status_code

    def supports(self, case: str, stream: bool, upstream: str) -> bool:
        return True

    # The cases.

    def case_plain(self, model, stream):
        self.check_plain(self.ask(Wants(model, stream, [("user", CASES["plain"]["prompt"])])))

    def case_async(self, model, stream):
        self.check_plain(asyncio.run(self.ask_async(Wants(model, stream, [("user", CASES["plain"]["prompt"])]))))

    def check_plain(self, answer):
        same("text", answer.text, CASES["plain"]["text"])
        same("calls", answer.calls, [])
        same("finish", answer.finish, self.finishes["stop"])
        usage = CASES["usage"]
        same("usage", answer.usage, (usage["input"], usage["cached"], usage["output"]))

    def case_conversation(self, model, stream):
        case = CASES["conversation"]
        answer = self.ask(Wants(model, stream, [tuple(turn) for turn in case["turns"]], system=CASES["system"]))
        same("text", answer.text, case["text"])

    def case_single(self, model, stream):
        self.converse(CASES["single"], model, stream)

    def case_parallel(self, model, stream):
        self.converse(CASES["parallel"], model, stream)

    def converse(self, case, model, stream, **more):
        """A call of tools and the answer to their results."""
        turns = [("user", case["prompt"])]
        answer = self.ask(Wants(model, stream, turns, tools=True, **more))
        same("names", [call.name for call in answer.calls], [CASES["tool"]["name"]] * len(case["calls"]))
        same("arguments", [call.args for call in answer.calls], case["calls"])
        same("finish", answer.finish, self.finishes["tools"])
        results = [(call, CASES["results"][call.args["city"]]) for call in answer.calls]
        turns += [("answer", answer), ("results", results)]
        last = self.ask(Wants(model, stream, turns, tools=True, **more))
        same("text", last.text, case["text"])
        same("finish", last.finish, self.finishes["stop"])
        return answer

    def case_schema(self, model, stream):
        answer = self.ask(Wants(model, stream, [("user", CASES["schema"]["prompt"])], schema=True))
        assert isinstance(answer.parsed, Person), repr(answer.parsed)
        same("value", answer.parsed.model_dump(), CASES["schema"]["value"])

    def case_image(self, model, stream):
        same("text", self.ask(Wants(model, stream, [("image", CASES["image"]["prompt"])])).text, CASES["image"]["text"])

    def case_length(self, model, stream):
        case = CASES["length"]
        answer = self.ask(Wants(model, stream, [("user", case["prompt"])], max_tokens=case["max_tokens"]))
        same("text", answer.text, case["text"])
        same("finish", answer.finish, self.finishes["length"])

    def case_cost(self, model, stream):
        answer = self.ask(Wants(model, stream, [("user", CASES["plain"]["prompt"])]))
        same("cost", answer.cost, CASES["cost"])

    def case_wrong_key(self, model, stream):
        self.fails(401, Wants(model, stream, [("user", "Hello")], key="pm-wrong"))

    def case_unknown_model(self, model, stream):
        self.fails(404, Wants("gpt-4-0613" if self.models is OPENAI_MODELS else "claude-3-haiku-20240307", stream, [("user", "Hello")]))

    def case_refused(self, model, stream):
        message = self.fails(400, Wants(model, stream, [("user", CASES["refused"]["prompt"])]))
        assert CASES["refused"]["message"] in message, message

    def fails(self, status, wants):
        try:
            answer = self.ask(wants)
        except self.errors[status] as e:
            same("status", self.status(e), status)
            return str(e)
        raise AssertionError(f"not refused: {answer}")

    # Running them.

    def run(self):
        for upstream in UPSTREAMS:
            for stream in (False, True):
                for case in self.cases + self.extras:
                    if self.supports(case, stream, upstream):
                        self.report(upstream, stream, case)

    def report(self, upstream, stream, case):
        ok, detail = True, ""
        try:
            getattr(self, "case_" + case)(self.models[upstream], stream)
        except Exception as e:  # whatever a client raises is the case's result
            ok, detail = False, "".join(traceback.format_exception(e))[-3000:]
        line = {
            "judge": self.name, "version": self.version, "inbound": self.inbound,
            "upstream": upstream, "stream": stream, "case": case, "ok": ok, "detail": detail,
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def same(what, got, want):
    assert got == want, f"{what}: got {got!r}, want {want!r}"
