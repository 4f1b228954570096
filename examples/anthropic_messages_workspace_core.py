"""The Anthropic Messages API with a workspace: the model finds and mends the fault of a project.

Choose this when your agent uses Claude directly and works on files over many commands. The model
gets a copy of the folder; what it changed is shown at the end, and your files stay as they are.

    ANTHROPIC_API_KEY=… python examples/anthropic_messages_workspace_core.py [--stream]
"""

import argparse
import os
from pathlib import Path

from anthropic import Anthropic

from pyro_mcp import Pyro
from pyro_mcp.tools import tool_definitions

PROJECT = Path(__file__).parent / "median"
TASK = (
    "A test of the project in the workspace {} fails (`python3 -m unittest`). Find the fault, mend "
    "it in the workspace, and run the tests again until they pass. Then say in one sentence what "
    "it was."
)
ROUNDS = 30


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default=os.environ.get("ANTHROPIC_MODEL", "claude-sonnet-4-5"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    pyro = Pyro()
    with pyro.workspace(environment="debian:12", seed_path=PROJECT) as workspace:
        work(Anthropic(), given, workspace.workspace_id, tool_definitions(pyro=pyro))
        print(workspace.diff()["patch"])
        tested = workspace.exec(command="python3 -m unittest")
        print("the tests", "pass" if tested["exit_code"] == 0 else "still fail")


def work(client, given, workspace_id, tools):
    messages = [{"role": "user", "content": TASK.format(workspace_id)}]
    for _ in range(ROUNDS):
        request = {
            "model": given.model,
            "max_tokens": 4096,
            "messages": messages,
            "tools": tools.anthropic(),
        }
        message = streamed(client, request) if given.stream else client.messages.create(**request)
        if not given.stream:
            print("".join(block.text for block in message.content if block.type == "text"))
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return
        results = []
        for call in calls:
            print(f"{call.name} {call.input}")
            content = tools.answer(call.name, call.input)
            results.append({"type": "tool_result", "tool_use_id": call.id, "content": content})
        messages.append({"role": "assistant", "content": message.content})
        messages.append({"role": "user", "content": results})
    raise SystemExit(f"the model was not done within {ROUNDS} rounds")


def streamed(client, request):
    """The same message, whose words are printed as they come."""
    with client.messages.stream(**request) as stream:
        for words in stream.text_stream:
            print(words, end="", flush=True)
        print()
        return stream.get_final_message()


if __name__ == "__main__":
    main()
