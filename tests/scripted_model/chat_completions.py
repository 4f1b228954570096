"""The Chat Completions protocol: OpenAI, and nearly every server of local models."""

import json

from .script import Tool, Turn, pieces, text_of

PATHS = ("/chat/completions",)


def turn(request):
    results = {
        message.get("tool_call_id", ""): text_of(message.get("content"))
        for message in request.get("messages", [])
        if message.get("role") == "tool"
    }
    tools = [Tool(tool["function"]["name"]) for tool in request.get("tools") or []]
    return Turn(tools, results, bool(request.get("stream")), request.get("model", ""))


def whole(reply, turn):
    message = {"role": "assistant", "content": reply.text or None}
    if reply.tool:
        message["tool_calls"] = [call(reply, json.dumps(reply.arguments))]
    choice = {"index": 0, "message": message, "finish_reason": ending(reply)}
    return head(turn, "chat.completion") | {"choices": [choice], "usage": usage()}


def events(reply, turn):
    """The parts of a stream: names, which this protocol has not, and documents."""

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return None, head(turn, "chat.completion.chunk") | {"choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    if reply.tool:
        yield chunk({"tool_calls": [call(reply, "") | {"index": 0}]})
        for piece in pieces(json.dumps(reply.arguments)):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    for piece in pieces(reply.text):
        yield chunk({"content": piece})
    yield chunk({}, ending(reply))
    yield None, head(turn, "chat.completion.chunk") | {"choices": [], "usage": usage()}
    yield None, "[DONE]"


def head(turn, kind):
    return {"id": "chatcmpl-scripted", "object": kind, "created": 0, "model": turn.model}


def call(reply, arguments):
    function = {"name": reply.tool.name, "arguments": arguments}
    return {"id": reply.call_id, "type": "function", "function": function}


def ending(reply):
    return "tool_calls" if reply.tool else "stop"


def usage():
    return {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
