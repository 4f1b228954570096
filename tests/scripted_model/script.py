"""What the model says, step by step.

The model keeps no state: a request holds the whole conversation, and how many of the script's calls
have a result in it tells which step is next.

A step is a call or the end:

    {"call": tool, "arguments": {…}, "expect": pattern, "capture": {name: pattern}, "until": pattern}
    {"say": text}

`expect` must be found in the result of the call. `capture` takes the first group of a pattern out
of the result; `{name}` in later arguments and texts stands for it. With `until` the same call is made
again as long as its result does not have that.
"""

import re
from dataclasses import dataclass, field


@dataclass
class Tool:
    """A tool as the client offers it. Hosts put their own words before a server's names."""

    name: str
    # The Responses protocol has groups of tools.
    namespace: str | None = None

    def is_called(self, wanted):
        before = self.name.removesuffix(wanted)
        return self.name.endswith(wanted) and (not before or not before[-1].isalnum())


@dataclass
class Turn:
    """A request, whatever the protocol."""

    tools: list[Tool]
    # The results of earlier calls, by the identifiers that `call_id` made.
    results: dict[str, str]
    streaming: bool = False
    model: str = "scripted"


@dataclass
class Reply:
    """What to answer: a text, or one call."""

    text: str = ""
    tool: Tool | None = None
    arguments: dict = field(default_factory=dict)
    call_id: str = ""


# Tools that make other tools known, and what to ask them. Hosts with many tools do not offer all.
SEARCHES = {
    "ToolSearch": lambda wanted: {"query": wanted, "max_results": 5},
    "tool_search": lambda wanted: {"query": wanted, "limit": 5},
}


# Calls that are made again, as a step has `until`.
MOST_ATTEMPTS = 50


def call_id(step, before=""):
    return f"call_scripted_{before}{step}"


class Script:
    def __init__(self, steps):
        for number, step in enumerate(steps):
            if ("call" in step) == ("say" in step):
                raise ValueError(f"step {number} must have either `call` or `say`: {step}")
        self.steps = steps

    def reply(self, turn):
        """The answer to a request; raises `Astray` when the conversation left the script."""
        # Hosts also ask for titles and summaries, and offer no tools for that.
        if not turn.tools:
            return Reply(text="ok")
        known = {}
        for number, step in enumerate(self.steps):
            if "say" in step:
                return Reply(text=filled(step["say"], known))
            identifier = call_id(number)
            result = turn.results.get(identifier)
            for attempt in range(1, MOST_ATTEMPTS):
                if result is None or re.search(step.get("until", ""), result):
                    break
                identifier = call_id(number, f"again_{attempt}_")
                result = turn.results.get(identifier)
            if result is None:
                arguments = filled(step.get("arguments", {}), known)
                return self.call(turn, number, identifier, step["call"], arguments)
            expected = filled(step.get("expect", ""), known)
            if not re.search(expected, result):
                raise Astray(f"step {number} ({step['call']}): no {expected!r} in {result!r}")
            for name, pattern in step.get("capture", {}).items():
                found = re.search(pattern, result)
                if not found:
                    raise Astray(f"step {number} ({step['call']}): no {pattern!r} in {result!r}")
                known[name] = found.group(1)
        return Reply(text="The script is over.")

    @staticmethod
    def call(turn, number, identifier, wanted, arguments):
        for tool in turn.tools:
            if tool.is_called(wanted):
                return Reply(tool=tool, arguments=arguments, call_id=identifier)
        search = call_id(number, "search_")
        for tool in turn.tools:
            if tool.name in SEARCHES and search not in turn.results:
                arguments = SEARCHES[tool.name](wanted)
                return Reply(tool=tool, arguments=arguments, call_id=search)
        offered = ", ".join(tool.name for tool in turn.tools)
        raise Astray(f"there is no tool `{wanted}` among {offered}")


class Astray(Exception):
    """The conversation is not the one that was written."""


def filled(value, known):
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda name: known.get(name[1], name[0]), value)
    if isinstance(value, dict):
        return {key: filled(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, known) for inner in value]
    return value


def text_of(content):
    """The text of a result, which some protocols wrap into blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(block.get("text", "") for block in content if isinstance(block, dict))
    return ""


def pieces(text):
    """A text in parts, so that clients have to put one together."""
    third = len(text) // 3 + 1
    return [text[start : start + third] for start in range(0, len(text), third)]
