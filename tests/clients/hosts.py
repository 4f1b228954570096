"""What the stories of all hosts share: connecting one, and playing a loop with a scripted model."""

import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripted_model import Model, Script  # noqa: E402

from world import PYRO  # noqa: E402

PROMPT = "Find the sum with a program in a pyro workspace."

# 37 times the sum of the numbers up to 100; no file and no prompt holds it.
ANSWER = "186850"

PROGRAM = "print(37 * sum(range(101)))\n"


def loop(world):
    """Create a workspace, write a file, run it, read what came of it, delete."""
    at = {"workspace_id": "{id}"}
    return Script(
        [
            {
                "call": "workspace_create",
                "arguments": {
                    "environment": "debian:12",
                    "name": "loop",
                    "allow_host_compat": world.on_host,
                },
                "expect": "loop",
                "capture": {"id": r"(?i)workspace[_ ]id\W+([\w-]+)"},
            },
            {
                "call": "workspace_file_write",
                "arguments": at | {"path": "sum.py", "text": PROGRAM},
                "expect": "sum.py",
            },
            {
                "call": "workspace_exec",
                "arguments": at | {"command": "python3 sum.py | tee result"},
                "expect": ANSWER,
            },
            {
                "call": "workspace_file_read",
                "arguments": at | {"path": "result"},
                "expect": ANSWER,
                "capture": {"answer": r"\b(\d{6})\b"},
            },
            {"call": "workspace_delete", "arguments": at, "expect": "(?i)deleted"},
            {"say": "The sum is {answer}."},
        ]
    )


# How long a host is told to wait for an answer, in seconds, in place of its minutes. Making a workspace
# may take longer on a busy machine, so that is done before.
HOST_WAITS = 10

# What the server is told of that: such a host is not the one whose limit pyro knows.
ANSWERS = "--env=PYRO_MCP_ANSWER_WITHIN=3"

# Longer than the host waits.
LONG = f"echo begun; sleep {HOST_WAITS + 2}; echo $((37 * 5050))"


def long_script(world):
    """A command that outlasts its host's patience, followed to its end by what the answers say."""
    at = {"workspace_id": made(world)}
    return Script(
        [
            {
                "call": "workspace_exec",
                "arguments": at | {"command": LONG, "timeout_seconds": 120},
                "expect": "The command is still running",
                "capture": {"sequence": r"with sequence=(\d+)", "offset": r" offset=(\d+)"},
            },
            {
                "call": "workspace_logs",
                "arguments": at
                | {"sequence": "{sequence}", "offset": "{offset}", "wait_seconds": 600},
                "until": r"exit_code\W+0",
                "expect": ANSWER,
                "capture": {"answer": r"\b([1-9]\d{5})\b"},
            },
            {"call": "workspace_delete", "arguments": at, "expect": "(?i)deleted"},
            {"say": "The sum is {answer}."},
        ]
    )


def made(world):
    """The id of a new workspace."""
    words = ["workspace", "create", "debian:12", "--id-only"]
    created = world.run([PYRO, *words, *(["--allow-host-compat"] if world.on_host else [])])
    assert created.returncode == 0, created
    return created.stdout.strip()


def alone(model):
    """The environment of a host that can reach the model and nothing else."""
    nowhere = "http://127.0.0.1:9"
    address = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    proxies = {name: nowhere for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    return paths() | address | proxies | {"SCRIPTED_MODEL": model.url if model else nowhere}


def paths():
    """`pyro` on PATH, as people have it."""
    return {"PATH": f"{Path(PYRO).parent}:{os.environ['PATH']}"}


def connect(world, host, *words):
    """Has pyro write its entry, and tells what it did."""
    # Hosts pass on little of their own environment.
    names = [name for name in world.variables() if not name.startswith("PYRO_CLIENTS_")]
    passed = [f"--env={name}" for name in names]
    done = world.run([PYRO, "host", "connect", host, "--json", *passed, *words], **paths())
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def examine(world, host, *words):
    """What `pyro host doctor` says."""
    done = world.run([PYRO, "host", "doctor", host, "--json", *words], **paths())
    return json.loads(done.stdout)


def play(world, command, protocol, written=loop, **variables):
    """Runs a host with a prompt against the model, from the first call to the answer."""
    script = written(world)
    with Model(script) as model:
        filled = [word.replace("MODEL", model.url) for word in command]
        given = {name: value.replace("MODEL", model.url) for name, value in variables.items()}
        ran = world.run(filled, **alone(model) | given)
        assert not model.astray, (model.astray, ran)
        assert ran.returncode == 0, ran
        assert f"The sum is {ANSWER}." in plain(ran.stdout), ran
        spoken = [turn for name, turn in model.turns if turn.tools and name == protocol]
        # One request for each call, and one for the end.
        assert len(spoken) >= len(script.steps), model.turns
    left = world.run([PYRO, "workspace", "list", "--json"])
    assert json.loads(left.stdout)["workspaces"] == [], left
    return ran


def plain(words):
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", words)
