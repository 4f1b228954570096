"""The MCP inspector's command line."""

import json
import os

from world import PYRO

INSPECTOR = os.environ.get("PYRO_CLIENTS_INSPECTOR", "mcp-inspector")


def inspect(world, *words):
    command = [INSPECTOR, "--cli"]
    # It hands on nothing of its own environment.
    for name, value in world.variables().items():
        command += ["-e", f"{name}={value}"]
    ran = world.run([*command, PYRO, "mcp", "serve", *words])
    assert ran.returncode == 0, ran
    return json.loads(ran.stdout)


def test_lists_tools(world):
    listed = inspect(world, "--method", "tools/list")
    assert listed["tools"][0]["name"] == "vm_run", listed


def test_calls_a_tool(world):
    words = ["--method", "tools/call", "--tool-name", "vm_run"]
    arguments = {
        "environment": "debian:12",
        "command": "echo hi",
        "allow_host_compat": str(world.on_host).lower(),
    }
    for name, value in arguments.items():
        words += ["--tool-arg", f"{name}={value}"]
    called = inspect(world, *words)
    assert called["structuredContent"]["stdout"] == "hi\n", called
    assert called["content"][0]["text"].startswith("hi\n"), called
