"""The Responses protocol of OpenAI."""

import itertools
import json

from .script import Tool, Turn, pieces, text_of

PATHS = ("/responses",)

NUMBERS = itertools.count(1)

# Results of earlier requests, for clients that send only what is new.
REMEMBERED = {}


def turn(request):
    given = request.get("input")
    results = dict(REMEMBERED.get(request.get("previous_response_id"), {}))
    for item in given if isinstance(given, list) else []:
        if item.get("type") == "function_call_output":
            results[item["call_id"]] = text_of(item.get("output"))
    tools = []
    for tool in request.get("tools") or []:
        if tool.get("type") == "namespace":
            inner = tool.get("tools", [])
            tools += [Tool(one["name"], tool["name"]) for one in inner if "name" in one]
        elif tool.get("type") == "function":
            tools.append(Tool(tool["name"]))
    return Turn(tools, results, bool(request.get("stream")), request.get("model", ""))


def whole(reply, turn):
    return response(turn, "completed", [item(reply, "completed")])


def events(reply, turn):
    begun = response(turn, "in_progress", [])
    numbers = itertools.count()

    def event(kind, **facts):
        return kind, {"type": kind, "sequence_number": next(numbers)} | facts

    done = item(reply, "completed")
    place = {"item_id": done["id"], "output_index": 0}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    if reply.tool:
        empty = done | {"arguments": "", "status": "in_progress"}
        yield event("response.output_item.added", output_index=0, item=empty)
        for piece in pieces(done["arguments"]):
            yield event("response.function_call_arguments.delta", delta=piece, **place)
        arguments = done["arguments"]
        yield event("response.function_call_arguments.done", arguments=arguments, **place)
    else:
        empty = done | {"content": [], "status": "in_progress"}
        part = place | {"content_index": 0}
        yield event("response.output_item.added", output_index=0, item=empty)
        yield event("response.content_part.added", part=text(""), **part)
        for piece in pieces(reply.text):
            yield event("response.output_text.delta", delta=piece, logprobs=[], **part)
        yield event("response.output_text.done", text=reply.text, logprobs=[], **part)
        yield event("response.content_part.done", part=text(reply.text), **part)
    yield event("response.output_item.done", output_index=0, item=done)
    yield event("response.completed", response=begun | {"status": "completed", "output": [done], "usage": usage()})


def response(turn, status, output):
    name = f"resp_scripted_{next(NUMBERS)}"
    REMEMBERED[name] = turn.results
    return {
        "id": name,
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": turn.model,
        "output": output,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "usage": usage(),
    }


def item(reply, status):
    if not reply.tool:
        return {
            "type": "message",
            "id": "msg_scripted",
            "role": "assistant",
            "status": status,
            "content": [text(reply.text)],
        }
    call = {
        "type": "function_call",
        "id": f"fc_{reply.call_id}",
        "call_id": reply.call_id,
        "name": reply.tool.name,
        "arguments": json.dumps(reply.arguments),
        "status": status,
    }
    return call | ({"namespace": reply.tool.namespace} if reply.tool.namespace else {})


def text(words):
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def usage():
    return {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 2,
    }
