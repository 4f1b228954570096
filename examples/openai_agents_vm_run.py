"""The OpenAI Agents SDK with one tool: a command in a fresh VM.

Choose this when your agent is built with this SDK already: its loop, its handoffs and its traces
stay as they are.

    OPENAI_API_KEY=… python examples/openai_agents_vm_run.py [--stream]
"""

import argparse
import asyncio
import os

from agents import Agent, FunctionTool, RunConfig, Runner

from pyro_mcp.tools import tool_definitions

QUESTION = (
    "What does `print(round(0.5), round(1.5), round(2.5))` print in Python, and why? Run it in a VM "
    "of debian:12 to be sure, together with `uname -r`, and name the kernel as well."
)


def agents_tools(profile="vm-run"):
    """pyro's tools as the Agents SDK has tools."""

    def adapted(tool):
        async def invoke(_context, arguments):
            print(f"{tool.name} {arguments}")
            return await tool.aanswer(arguments)

        return FunctionTool(
            name=tool.name,
            description=tool.description,
            params_json_schema=tool.input_schema,
            on_invoke_tool=invoke,
            # The strict mode knows no optional arguments.
            strict_json_schema=False,
        )

    return [adapted(tool) for tool in tool_definitions(profile)]


async def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-5-mini"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    agent = Agent(name="Tester", model=given.model, tools=agents_tools())
    # Traces would go to OpenAI, wherever the model is.
    quietly = RunConfig(tracing_disabled=True)
    if given.stream:
        answer = Runner.run_streamed(agent, QUESTION, run_config=quietly)
        async for event in answer.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                print(event.data.delta, end="", flush=True)
        print()
    else:
        answer = await Runner.run(agent, QUESTION, run_config=quietly)
        print(answer.final_output)


if __name__ == "__main__":
    asyncio.run(main())
