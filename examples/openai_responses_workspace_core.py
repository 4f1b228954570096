"""The OpenAI Responses API with a workspace: the model finds and mends the fault of a project.

Choose this when your agent uses OpenAI's models directly and works on files over many commands.
The model gets a copy of the folder; what it changed is shown at the end, and your files stay as
they are.

    OPENAI_API_KEY=… python examples/openai_responses_workspace_core.py [--stream]
"""

import argparse
import os
from pathlib import Path

from openai import OpenAI

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
    options.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-5-mini"))
    options.add_argument("--stream", action="store_true", help="print words as they come")
    given = options.parse_args()

    pyro = Pyro()
    with pyro.workspace(environment="debian:12", seed_path=PROJECT) as workspace:
        work(OpenAI(), given, workspace.workspace_id, tool_definitions("workspace-core", pyro=pyro))
        print(workspace.diff()["patch"])
        tested = workspace.exec(command="python3 -m unittest")
        print("the tests", "pass" if tested["exit_code"] == 0 else "still fail")


def work(client, given, workspace_id, tools):
    news = TASK.format(workspace_id)
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
    raise SystemExit(f"the model was not done within {ROUNDS} rounds")


def streamed(client, request):
    """The same response, whose words are printed as they come."""
    with client.responses.stream(**request) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
        return stream.get_final_response()


if __name__ == "__main__":
    main()
