"""PydanticAI with one tool: a command in a fresh VM.

Choose this when your agent is built with PydanticAI already, or when its answer should have a type
that is checked, as here.

    OPENAI_API_KEY=… python examples/pydantic_ai_vm_run.py [--stream]
"""

import argparse
import asyncio
import os

from pydantic_ai import Agent, Tool
from pydantic_ai.models.openai import OpenAIChatModel

from pyro_mcp.tools import tool_definitions

QUESTION = (
    "What does `print(round(0.5), round(1.5), round(2.5))` print in Python, and why? Run it in a VM "
    "of debian:12 to be sure, together with `uname -r`, and name the kernel as well."
)


def pydantic_ai_tools(profile="vm-run"):
    """pyro's tools as PydanticAI has tools."""
    return [
        Tool.from_schema(
            tool.aanswer,
            name=tool.name,
            description=tool.description,
            json_schema=tool.input_schema,
        )
        for tool in tool_definitions(profile)
    ]


async def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-5-mini"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    agent = Agent(OpenAIChatModel(given.model), tools=pydantic_ai_tools())
    if given.stream:
        async with agent.run_stream(QUESTION) as answer:
            async for words in answer.stream_text(delta=True):
                print(words, end="", flush=True)
            print()
            told = answer.usage
    else:
        answer = await agent.run(QUESTION)
        print(answer.output)
        told = answer.usage
    print(f"{told.requests} requests, {told.tool_calls} tool calls")


if __name__ == "__main__":
    asyncio.run(main())
