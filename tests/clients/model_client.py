"""The scripted model itself, in every protocol that it speaks: what the hosts are tested with."""

import json
import re
import urllib.request

from hosts import Model, Script

from world import cases

STEPS = [
    {
        "call": "add",
        "arguments": {"left": 40, "words": "zwei, два, {unknown}"},
        "expect": "sum",
        "capture": {"sum": r"sum (\d+)"},
    },
    {"call": "tell", "arguments": {"about": "{sum}"}},
    {"say": "It is {sum}, and höher."},
]


class ChatCompletions:
    path = "/v1/chat/completions"

    def __init__(self):
        self.messages = [{"role": "user", "content": "Go."}]

    def request(self, names):
        tools = [{"type": "function", "function": {"name": name}} for name in names]
        return {"messages": self.messages, "tools": tools}

    def read(self, whole, events):
        if whole:
            message = whole["choices"][0]["message"]
            call = (message.get("tool_calls") or [None])[0]
            return self.seen(call, message["content"])
        deltas = [event["choices"][0]["delta"] for _, event in events if event.get("choices")]
        calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        text = "".join(delta.get("content") or "" for delta in deltas)
        if calls:
            arguments = "".join(call["function"]["arguments"] for call in calls)
            function = {"name": calls[0]["function"]["name"], "arguments": arguments}
            return self.seen({"id": calls[0]["id"], "function": function}, text)
        return self.seen(None, text)

    def seen(self, call, text):
        if not call:
            return None, text
        self.call = call["id"]
        return call["function"]["name"], json.loads(call["function"]["arguments"])

    def result(self, text):
        self.messages.append({"role": "tool", "tool_call_id": self.call, "content": text})


class Responses:
    path = "/v1/responses"

    def __init__(self):
        self.news = [{"role": "user", "content": "Go."}]
        self.previous = None

    def request(self, names):
        tools = [{"type": "function", "name": names[0]}]
        group = [{"type": "function", "name": name} for name in names[1:]]
        tools.append({"type": "namespace", "name": "more", "tools": group})
        # Only what is new is sent; the rest is remembered.
        return {"input": self.news, "previous_response_id": self.previous, "tools": tools}

    def read(self, whole, events):
        if not whole:
            assert [event["sequence_number"] for _, event in events] == [*range(len(events))]
            deltas = [event["delta"] for kind, event in events if kind.endswith(".delta")]
            whole = events[-1][1]["response"]
            item = whole["output"][0]
            text = item.get("arguments") or item["content"][0]["text"]
            assert "".join(deltas) == text, events
        self.previous = whole["id"]
        item = whole["output"][0]
        if item["type"] == "message":
            return None, item["content"][0]["text"]
        self.call = item["call_id"]
        assert item.get("namespace") == (None if item["name"] == "x_add" else "more"), item
        return item["name"], json.loads(item["arguments"])

    def result(self, text):
        self.news = [{"type": "function_call_output", "call_id": self.call, "output": text}]


class Messages:
    path = "/v1/messages"

    def __init__(self):
        self.messages = [{"role": "user", "content": "Go."}]

    def request(self, names):
        return {"messages": self.messages, "tools": [{"name": name} for name in names]}

    def read(self, whole, events):
        if not whole:
            begin = next(event for kind, event in events if kind == "content_block_start")
            deltas = [event["delta"] for kind, event in events if kind == "content_block_delta"]
            block = begin["content_block"]
            if block["type"] == "tool_use":
                parts = "".join(delta["partial_json"] for delta in deltas)
                block["input"] = json.loads(parts)
            else:
                block["text"] = "".join(delta["text"] for delta in deltas)
            whole = {"content": [block]}
        block = whole["content"][0]
        if block["type"] == "text":
            return None, block["text"]
        self.call = block["id"]
        return block["name"], block["input"]

    def result(self, text):
        content = [{"type": "text", "text": text}]
        block = {"type": "tool_result", "tool_use_id": self.call, "content": content}
        self.messages.append({"role": "user", "content": [block]})


PROTOCOLS = {kind.__name__: kind for kind in (ChatCompletions, Responses, Messages)}


def ask(model, path, request):
    body = json.dumps(request | {"model": "scripted"}).encode()
    asked = urllib.request.Request(model.url + path, body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        text = answer.read().decode()
    if not request.get("stream"):
        return json.loads(text), None
    events = []
    for block in text.strip().split("\n\n"):
        kind = re.search(r"^event: (.*)$", block, re.M)
        data = re.search(r"^data: (.*)$", block, re.M)[1]
        if data != "[DONE]":
            events.append((kind and kind[1], json.loads(data)))
    return None, events


@cases(*PROTOCOLS)
def test_plays_a_script(_world, name):
    for streaming in (False, True):
        with Model(Script(STEPS)) as model:
            client = PROTOCOLS[name]()

            def turn():
                request = client.request(["x_add", "tell"]) | {"stream": streaming}
                return client.read(*ask(model, client.path, request))

            assert turn() == ("x_add", {"left": 40, "words": "zwei, два, {unknown}"})
            client.result("the sum 42")
            assert turn() == ("tell", {"about": "42"})
            client.result("")
            assert turn() == (None, "It is 42, and höher.")
            assert not model.astray


def test_makes_a_call_again_until_it_is_enough(_world):
    steps = [{"call": "look", "until": "done", "expect": "done"}, {"say": "Over."}]
    with Model(Script(steps)) as model:
        client = Messages()
        turn = lambda: client.read(*ask(model, client.path, client.request(["look"])))  # noqa: E731
        for result in ("not yet", "nor now", "done"):
            assert turn() == ("look", {})
            client.result(result)
        assert turn() == (None, "Over.")
        assert not model.astray


def test_says_where_it_went_astray(_world):
    with Model(Script(STEPS)) as model:
        client = ChatCompletions()
        read = lambda names: client.read(*ask(model, client.path, client.request(names)))  # noqa: E731
        assert read([]) == (None, "ok")
        assert "no tool `add` among badd" in read(["badd"])[1]
        read(["add"])
        client.result("nothing")
        assert "step 0 (add)" in read(["add"])[1]
        assert len(model.astray) == 2, model.astray
