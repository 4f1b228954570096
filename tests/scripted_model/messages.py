"""The Messages protocol of Anthropic."""

import json

from .script import Tool, Turn, pieces, text_of

PATHS = ("/messages",)


def turn(request):
    results = {}
    for message in request.get("messages", []):
        content = message.get("content")
        for block in content if isinstance(content, list) else []:
            if block.get("type") == "tool_result":
                results[block["tool_use_id"]] = text_of(block.get("content"))
    tools = [Tool(tool["name"]) for tool in request.get("tools") or []]
    return Turn(tools, results, bool(request.get("stream")), request.get("model", ""))


def whole(reply, turn):
    return message(turn) | {"content": [block(reply)], "stop_reason": ending(reply)}


def events(reply, turn):
    def event(kind, **facts):
        return kind, {"type": kind} | facts

    yield event("message_start", message=message(turn))
    if reply.tool:
        begin, deltas = block(reply) | {"input": {}}, [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in pieces(json.dumps(reply.arguments))
        ]
    else:
        begin, deltas = block(reply) | {"text": ""}, [
            {"type": "text_delta", "text": piece} for piece in pieces(reply.text)
        ]
    yield event("content_block_start", index=0, content_block=begin)
    for delta in deltas:
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    stop = {"stop_reason": ending(reply), "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": 1})
    yield event("message_stop")


def message(turn):
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": turn.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def block(reply):
    if not reply.tool:
        return {"type": "text", "text": reply.text}
    return {
        "type": "tool_use",
        "id": reply.call_id,
        "name": reply.tool.name,
        "input": reply.arguments,
    }


def ending(reply):
    return "tool_use" if reply.tool else "end_turn"
