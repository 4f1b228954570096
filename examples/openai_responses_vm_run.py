"""The OpenAI Responses API with one tool: a command in a fresh VM, which is gone afterwards.

Choose this when your agent uses OpenAI's models directly and each command stands for itself.

    OPENAI_API_KEY=… python examples/openai_responses_vm_run.py [--stream]
"""

import argparse
import os

from openai import OpenAI

from pyro_mcp.tools import tool_definitions

QUESTION = (
    "What does `print(round(0.5), round(1.5), round(2.5))` print in Python, and why? Run it in a VM "
    "of debian:12 to be sure, together with `uname -r`, and name the kernel as well."
)
ROUNDS = 12


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-5-mini"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    client = OpenAI()
    tools = tool_definitions("vm-run")
    news = QUESTION
    previous = None
    for _ in range(ROUNDS):
        request = {
            "model": given.model,
            "input": news,
            "tools": tools.openai_responses(),
            "previous_response_id": previous,
        }
        response = streamed(client, request) if given.stream else client.responses.create(**request)
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            print("" if given.stream else response.output_text)
            return
        news = []
        for call in calls:
            print(f"{call.name} {call.arguments}")
            output = tools.answer(call.name, call.arguments)
            news.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
        previous = response.id
    raise SystemExit(f"the model gave no answer within {ROUNDS} rounds")


def streamed(client, request):
    """The same response, whose words are printed as they come."""
    with client.responses.stream(**request) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
        return stream.get_final_response()


if __name__ == "__main__":
    main()
