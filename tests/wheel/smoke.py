"""The installed package as its users meet it: the SDK, and `pyro mcp serve` in two profiles, on real VMs.

`scripts/dist-check` installs the wheel into a clean environment and runs this with its Python.
"""

import json
import subprocess
import sys
from pathlib import Path

from pyro_mcp import Pyro

PYRO = Path(sys.executable).parent / "pyro"
ENVIRONMENT = "debian:12"


class Server:
    """`pyro mcp serve`, spoken to line by line."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [PYRO, "mcp", "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.number = 0

    def __enter__(self):
        client = {"name": "smoke", "version": "1"}
        self.request(
            "initialize",
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client},
        )
        self.send({"method": "notifications/initialized"})
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def request(self, method, parameters):
        self.number += 1
        self.send({"id": self.number, "method": method, "params": parameters})
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self.number and "method" not in message:
                return message["result"]
        raise AssertionError("the server has ended")

    def call(self, tool, **arguments):
        answer = self.request("tools/call", {"name": tool, "arguments": arguments})
        assert not answer.get("isError"), answer["content"]
        return answer["structuredContent"]

    def tools(self):
        return {tool["name"] for tool in self.request("tools/list", {})["tools"]}


def sdk():
    result = Pyro().run_in_vm(environment=ENVIRONMENT, command="echo from the guest")
    assert result["stdout"] == "from the guest\n" and result["execution_mode"] == "guest_vsock", result


def default_profile():
    with Server() as server:
        tools = server.tools()
        assert "workspace_exec" in tools and "snapshot_create" not in tools, tools
        workspace = server.call("workspace_create", environment=ENVIRONMENT)["workspace_id"]
        try:
            result = server.call("workspace_exec", workspace_id=workspace, command="echo kept >note; cat note")
            assert result["stdout"] == "kept\n", result
            assert "note" in json.dumps(server.call("workspace_diff", workspace_id=workspace))
        finally:
            server.call("workspace_delete", workspace_id=workspace)


def full_profile():
    with Server("--profile", "workspace-full") as server:
        workspace = server.call("workspace_create", environment=ENVIRONMENT)["workspace_id"]
        try:
            write = {"workspace_id": workspace, "path": "state"}
            server.call("workspace_file_write", text="good\n", **write)
            server.call("snapshot_create", workspace_id=workspace, snapshot_name="good")
            server.call("workspace_file_write", text="bad\n", **write)
            server.call("workspace_reset", workspace_id=workspace, snapshot="good")
            result = server.call("workspace_exec", workspace_id=workspace, command="cat state")
            assert result["stdout"] == "good\n", result
        finally:
            server.call("workspace_delete", workspace_id=workspace)


for smoke in (sdk, default_profile, full_profile):
    smoke()
    print(f"dist-check: {smoke.__name__}: passed", flush=True)
