"""Any server of the Chat Completions protocol with one tool: a command in a fresh VM.

Choose this for a model on your own machine (Ollama, llama.cpp, vLLM), or for one of the many
services with this protocol. Without variables it asks a local Ollama.

    python examples/chat_completions_vm_run.py --model llama3.2:3b [--stream]
    OPENAI_BASE_URL=… OPENAI_API_KEY=… OPENAI_MODEL=… python examples/chat_completions_vm_run.py
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
    options.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "llama3.2:3b"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://localhost:11434/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "ollama"),
    )
    tools = tool_definitions("vm-run")
    messages = [{"role": "user", "content": QUESTION}]
    for _ in range(ROUNDS):
        request = {"model": given.model, "messages": messages, "tools": tools.openai_chat()}
        message = streamed(client, request) if given.stream else whole(client, request)
        if not message.tool_calls:
            print("" if given.stream else message.content)
            return
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls:
            print(f"{call.function.name} {call.function.arguments}")
            content = tools.answer(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    raise SystemExit(f"the model gave no answer within {ROUNDS} rounds")


def whole(client, request):
    return client.chat.completions.create(**request).choices[0].message


def streamed(client, request):
    """The same message, whose words are printed as they come."""
    with client.chat.completions.stream(**request) as stream:
        for event in stream:
            if event.type == "content.delta":
                print(event.delta, end="", flush=True)
        return stream.get_final_completion().choices[0].message


if __name__ == "__main__":
    main()
