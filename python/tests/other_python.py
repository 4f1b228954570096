"""Played by interpreters that have neither pytest nor the time for all tests: calls, blocks, the
server in process, and every signature. `scripts/python` runs it."""

import asyncio
import sys

from signatures import METHODS, PENDING, assert_signature

from pyro_mcp import AsyncPyro, Pyro, create_server, errors
from pyro_mcp.tools import tool_definitions

GIVEN = {"environment": "debian:12", "allow_host_compat": True}
NAMES = set(METHODS) - PENDING

pyro = Pyro()
assert pyro.run_in_vm(command="echo out", **GIVEN)["stdout"] == "out\n"
with pyro.workspace(**GIVEN) as workspace:
    assert workspace.exec(command="echo here")["stdout"] == "here\n"
try:
    pyro.exec_workspace("nothing", command="true")
except errors.UnknownWorkspaceError as error:
    assert error.hint
else:
    raise AssertionError("there is no such workspace")


async def story():
    there = AsyncPyro()
    assert (await there.run_in_vm(command="echo out", **GIVEN))["stdout"] == "out\n"
    async with there.workspace(**GIVEN) as workspace:
        waiting = asyncio.ensure_future(workspace.exec(command="exec sleep 1000", timeout_seconds=900))
        await asyncio.sleep(0)
        waiting.cancel()
        try:
            await waiting
        except asyncio.CancelledError:
            pass
    assert (await there.list_workspaces())["count"] == 0
    ran = await create_server(profile="vm-run").call_tool("vm_run", {"command": "echo out", **GIVEN})
    assert ran.structuredContent["stdout"] == "out\n"


asyncio.run(story())
assert '"code":"invalid_argument"' in tool_definitions().answer("workspace_exec", "[" * 100_000)
for surface in [Pyro, AsyncPyro]:
    for name in sorted(NAMES):
        assert_signature(getattr(surface, name), METHODS[name]["params"], name)
print("python: also on", sys.version.split()[0], "with", len(NAMES), "signatures")
