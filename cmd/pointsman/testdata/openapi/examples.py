"""Sends every example of an OpenAPI document to the gateway that serves it, and holds the answers to the document.

Usage: examples.py BASE_URL KEY MODULE KEK

Each operation is asked once for each of its examples, in the order of the document, those that delete at the end: with all
optional parameters that have an example, and a GET also without them. Parameters without an example come from the links of
earlier answers. An answer must have a
documented status, one of success where there is one, the documented headers, and a body that matches its schema. Schemas of
the gateway's own are closed for this: a member that is not described is a fault. MODULE is a WebAssembly policy to upload,
KEK a file with a key-encryption key, which stands for the one that examples name.
"""

import copy
import json
import sys

import jsonschema_rs
import requests


# Operations before which another one is asked once more, because what it began has ended.
AGAIN = {"promoteRollout": "startRollout"}
KEK = "/etc/pointsman/kek-2027"  # in examples


class Checker:
    def __init__(self, base, key, module, kek):
        self.base, self.module, self.kek = base, module, kek
        self.session = requests.Session()
        self.session.headers["Authorization"] = "Bearer " + key
        self.document = self.session.get(base + "/openapi.json", timeout=10).json()
        self.components = copy.deepcopy(self.document["components"])
        close(self.components["schemas"])
        self.linked = {}  # value by operation and parameter
        self.faults = []
        self.sent = self.examples = 0

    def fault(self, where, what):
        self.faults.append(f"{where}: {what}")

    def resolve(self, thing):
        while isinstance(thing, dict) and "$ref" in thing and thing["$ref"].startswith("#/"):
            name = thing["$ref"]
            thing = self.document
            for step in name[2:].split("/"):
                thing = thing[step.replace("~1", "/").replace("~0", "~")]
        return thing

    def validate(self, where, schema, value):
        whole = copy.deepcopy(schema)
        close(whole)
        whole["components"] = self.components
        validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        for error in validator.iter_errors(value):
            at = "/".join(str(step) for step in error.instance_path)
            self.fault(where, f"at /{at}: {error.message[:300]}")

    def validate_examples(self, where, holder):
        """Holds the examples of a media type, a parameter or a header to their schema."""
        schema = holder.get("schema")
        if schema is None:
            return
        values = [holder["example"]] if "example" in holder else []
        values += [e["value"] for e in holder.get("examples", {}).values()]
        for value in values:
            self.examples += 1
            self.validate(where + " example", schema, value)

    def run(self):
        for name, schema in self.document["components"]["schemas"].items():
            for value in schema.get("examples", []):
                self.examples += 1
                self.validate(f"schema {name} example", schema, value)
        operations = [
            (path, method, operation, item.get("parameters", []) + operation.get("parameters", []))
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if method != "parameters"
        ]
        given = lambda p: p["in"] != "path" or "example" in p
        operations.sort(key=lambda o: (o[1] == "delete", not all(given(self.resolve(p)) for p in o[3])))  # after those whose answers they need
        by_id = {o[2]["operationId"]: o for o in operations}
        for path, method, operation, parameters in operations:
            if operation["operationId"] in AGAIN:
                self.ask_all(*by_id[AGAIN[operation["operationId"]]])
            self.ask_all(path, method, operation, parameters)

    def ask_all(self, path, method, operation, parameters):
        parameters = [self.resolve(p) for p in parameters]
        for p in parameters:
            self.validate_examples(f"parameter {p['name']} of {path}", p)
        for full in (True, False) if method == "get" else (True,):
            for media, body in self.bodies(path, operation):
                self.ask(path, method, operation, parameters, full, media, body)

    def bodies(self, path, operation):
        """Lists the bodies to send: media type and content."""
        if "requestBody" not in operation:
            return [(None, None)]
        found = []
        for media, content in self.resolve(operation["requestBody"])["content"].items():
            self.validate_examples(f"body of {path}", content)
            if media in ("application/wasm", "application/octet-stream"):
                with open(self.module, "rb") as module:
                    found.append((media, module.read()))
                continue
            if media == "multipart/form-data":
                form = {"model": (None, "whisper-1"), "file": ("a.mp3", b"no sound")}
                request = requests.Request("POST", self.base, files=form).prepare()
                found.append((request.headers["Content-Type"], request.body))
                continue
            values = [content["example"]] if "example" in content else []
            values += [e["value"] for e in content.get("examples", {}).values()]
            if not values:
                self.fault(path, f"its body has no example of {media}")
            found += [(media, json.dumps(v).replace(KEK, self.kek).encode()) for v in values]
        return found

    def ask(self, path, method, operation, parameters, full, media, body):
        where = f"{method.upper()} {path}"
        query, headers = {}, {"Content-Type": media} if media else {}
        for p in parameters:
            value = self.linked.get((operation["operationId"], p["name"]), p.get("example"))
            if value is None and p.get("required"):
                self.fault(where, f"neither an example nor an answer gives {p['name']}")
                return
            if p["in"] == "path":
                path = path.replace("{" + p["name"] + "}", requests.utils.quote(str(value), safe=""))
            elif value is not None and full:
                (query if p["in"] == "query" else headers)[p["name"]] = str(value)
        answer = self.session.request(method, self.base + path, params=query, headers=headers, data=body, timeout=60)
        self.sent += 1
        self.check(where, operation, answer)

    def check(self, where, operation, answer):
        responses = operation["responses"]
        status = str(answer.status_code)
        where += f" -> {status}"
        if status not in responses:
            self.fault(where, f"the status is not documented: {answer.text[:300]}")
            return
        if any(s.startswith("2") for s in responses) and not answer.ok:
            self.fault(where, f"the example does not work: {answer.text[:300]}")
        response = self.resolve(responses[status])
        self.check_headers(where, response, answer)
        media = answer.headers.get("Content-Type", "").split(";")[0]
        content = response.get("content", {})
        if answer.content and media not in content and media.split("/")[0] + "/*" not in content:
            self.fault(where, f"answers as {media!r}, which is not documented")
        elif media == "text/event-stream":
            self.check_events(where, answer.text)
        elif media == "application/json":
            self.validate_examples(where, content[media])
            self.validate(where, content[media].get("schema", {}), answer.json())
            self.follow(response, answer)

    def check_headers(self, where, response, answer):
        documented = {name.lower(): self.resolve(h) for name, h in response.get("headers", {}).items()}
        for name, header in documented.items():
            value = answer.headers.get(name)
            if value is None:
                if header.get("required"):
                    self.fault(where, f"the header {name} is missing")
                continue
            kind = self.resolve(header["schema"]).get("type")
            self.validate(f"{where} header {name}", header["schema"], int(value) if kind == "integer" else value)
        for name in answer.headers:
            if name.lower().startswith("x-pointsman-") and name.lower() not in documented:
                self.fault(where, f"the header {name} is not documented")

    def check_events(self, where, text):
        """Holds a stream to what all of them have: events of JSON, one of which tells the price."""
        events = [line[len("data: "):] for line in text.splitlines() if line.startswith("data: ")]
        for event in events:
            if event != "[DONE]":
                json.loads(event)
        if not any('"credits":"' in event for event in events):
            self.fault(where, f"no event tells the price: {text[-300:]}")

    def follow(self, response, answer):
        """Takes what the links of an answer give to other operations."""
        for link in response.get("links", {}).values():
            for name, source in link.get("parameters", {}).items():
                place, _, what = source.removeprefix("$response.").partition("#" if "#" in source else ".")
                value = answer.headers.get(what) if place == "header" else pointed(answer.json(), what.strip("/").split("/"))
                if value is not None:
                    self.linked[(link["operationId"], name)] = value


def pointed(value, path):
    """Follows a JSON pointer. 0 is the first element in which the rest of it leads anywhere."""
    if not path or value is None:
        return value
    if isinstance(value, list):
        found = (pointed(element, path[1:]) for element in value)
        return next((f for f in found if f is not None), None)
    return pointed(value.get(path[0]), path[1:])


def close(schema):
    """Forbids members that a schema does not describe, unless it says that there may be others."""
    if isinstance(schema, list):
        for item in schema:
            close(item)
    elif isinstance(schema, dict):
        for value in schema.values():
            close(value)
        if schema.get("type") == "object" and "properties" in schema and "$ref" not in schema:
            schema.setdefault("additionalProperties", False)


def main():
    checker = Checker(*sys.argv[1:5])
    checker.run()
    for fault in checker.faults:
        print(fault)
    print(f"{checker.sent} requests, {checker.examples} examples, {len(checker.faults)} faults")
    sys.exit(1 if checker.faults else 0)


main()
