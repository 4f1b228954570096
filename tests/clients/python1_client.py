"""The official Python client of the 1.x line: it leaves without a word about what it gave up."""

import json
import os
from pathlib import Path

from world import PYRO

PYTHON1 = os.environ.get("PYRO_CLIENTS_PYTHON1", "python3")


def test_leaves_a_call_that_it_gave_up(world):
    program = Path(__file__).with_name("gives_up.py")
    words = ["on-host"] if world.on_host else []
    left = world.run([PYTHON1, str(program), *words], PYRO_MCP_ANSWER_WITHIN="off")
    assert left.returncode == 0, left.stderr
    at = json.loads(left.stdout)["workspace_id"]
    # The command has ended with the connection, and has its place in the history.
    logs = json.loads(world.run([PYRO, "workspace", "logs", at, "--json"]).stdout)
    entry = logs["entries"][0]
    assert (entry["exit_code"], entry["stdout"]) == (137, "begun\n"), logs
    assert world.run([PYRO, "workspace", "delete", at]).returncode == 0
