"""The official Python client, in every revision of the protocol that it speaks."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import mcp.client.session
from mcp import Client, StdioServerParameters
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, KNOWN_PROTOCOL_VERSIONS

from hosts import HOST_WAITS, LONG, made

from world import PYRO, cases

CORE = [
    "vm_run",
    "workspace_create",
    "workspace_list",
    "workspace_update",
    "workspace_exec",
    "workspace_sync_push",
    "workspace_status",
    "workspace_logs",
    "workspace_export",
    "workspace_diff",
    "workspace_file_list",
    "workspace_file_read",
    "workspace_file_write",
    "workspace_patch_apply",
    "workspace_reset",
    "workspace_delete",
]

# The first revision whose results have structured content.
STRUCTURED = "2025-06-18"

WRONG = "def add(a, b):\n    return a - b\n"

TEST = """\
import unittest
from calc import add

class Sums(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(2, 3), 5)
"""

PATCH = """\
--- a/calc.py
+++ b/calc.py
@@ -1,2 +1,2 @@
 def add(a, b):
-    return a - b
+    return a + b
"""

RUN_TESTS = "python3 -B -m unittest -v"


@asynccontextmanager
async def connected(world, version, *arguments, waits=240, within="off"):
    """A client that speaks one revision, with a server of its own."""
    patience = {"PYRO_MCP_ANSWER_WITHIN": within}
    server = StdioServerParameters(
        command=PYRO, args=["mcp", "serve", *arguments], env=world.variables() | patience
    )
    mode = version
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        mode = "legacy"
        # The client offers its newest; an older one offered the newest that it knew.
        mcp.client.session.LATEST_HANDSHAKE_VERSION = version
    async with Client(server, mode=mode, read_timeout_seconds=waits) as client:
        assert client.protocol_version == version, client.protocol_version
        yield client


class Tools:
    """Calls that succeed, and the facts of their results."""

    def __init__(self, client, version):
        self.client = client
        self.version = version

    async def call(self, tool, /, **arguments):
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content[0].text
        if self.version < STRUCTURED:
            return json.loads(result.content[0].text)
        assert result.structured_content is not None, tool
        return result.structured_content

    async def refused(self, tool, /, **arguments):
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result
        return result


@cases(*KNOWN_PROTOCOL_VERSIONS)
def test_one_command(world, version):
    async def story():
        async with connected(world, version, "--profile", "vm-run") as client:
            tools = await client.list_tools()
            assert [tool.name for tool in tools.tools] == ["vm_run"]
            facts = await Tools(client, version).call(
                "vm_run",
                environment="debian:12",
                command="echo héllo; exit 7",
                timeout_seconds=120,
                allow_host_compat=world.on_host,
            )
            assert facts["stdout"] == "héllo\n", facts
            assert facts["exit_code"] == 7, facts
            result = await Tools(client, version).refused("vm_run", environment="debian:12")
            assert "`command`" in result.content[0].text

    asyncio.run(story())


@cases(*KNOWN_PROTOCOL_VERSIONS)
def test_the_whole_loop(world, version):
    """From a project with a failing test to a repaired file on the host, and back to nothing."""
    seed = world.folder / "seed"
    seed.mkdir()
    (seed / "calc.py").write_text(WRONG)
    (seed / "test_calc.py").write_text(TEST)
    repaired = world.folder / "repaired.py"

    async def story():
        async with connected(world, version) as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == CORE
            tools = Tools(client, version)

            created = await tools.call(
                "workspace_create",
                environment="debian:12",
                seed_path=str(seed),
                name="sums",
                labels={"kind": "repair"},
                allow_host_compat=world.on_host,
            )
            at = {"workspace_id": created["workspace_id"]}
            assert created["workspace_seed"]["entry_count"] == 2, created

            ran = await tools.call("workspace_exec", command=RUN_TESTS, **at)
            assert ran["exit_code"] == 1 and "FAILED" in ran["stderr"], ran

            entries = (await tools.call("workspace_file_list", **at))["entries"]
            assert [entry["path"] for entry in entries] == [
                "/workspace/calc.py",
                "/workspace/test_calc.py",
            ]
            read = await tools.call("workspace_file_read", path="calc.py", **at)
            assert read["content"] == WRONG, read

            patched = await tools.call("workspace_patch_apply", patch=PATCH, **at)
            assert patched["summary"]["modified"] == 1, patched
            await tools.call("workspace_file_write", path="NOTES.md", text="Fixed.\n", **at)

            ran = await tools.call("workspace_exec", command=RUN_TESTS, **at)
            assert ran["exit_code"] == 0 and ran["sequence"] == 2, ran

            diff = await tools.call("workspace_diff", **at)
            changes = [(entry["path"], entry["status"]) for entry in diff["entries"]]
            assert changes == [("NOTES.md", "added"), ("calc.py", "modified")], diff
            assert "+    return a + b" in diff["patch"], diff

            await tools.call(
                "workspace_export", path="calc.py", output_path=str(repaired), **at
            )
            assert repaired.read_text() == WRONG.replace("-", "+")

            reset = await tools.call("workspace_reset", **at)
            assert reset["reset_count"] == 1 and reset["name"] == "sums", reset
            assert not (await tools.call("workspace_diff", **at))["changed"]
            ran = await tools.call("workspace_exec", command=RUN_TESTS, **at)
            assert ran["exit_code"] == 1, ran

            logs = await tools.call("workspace_logs", **at)
            assert logs["total"] == 3, logs
            listed = await tools.call("workspace_list")
            assert [w["name"] for w in listed["workspaces"]] == ["sums"], listed

            deleted = await tools.call("workspace_delete", **at)
            assert deleted["deleted"], deleted
            gone = await tools.refused("workspace_status", **at)
            assert at["workspace_id"] in gone.content[0].text

    asyncio.run(story())


def test_a_workspace_outlives_its_server(world):
    async def story():
        newest = KNOWN_PROTOCOL_VERSIONS[-1]
        async with connected(world, newest) as client:
            tools = Tools(client, newest)
            created = await tools.call(
                "workspace_create", environment="debian:12", allow_host_compat=world.on_host
            )
            at = {"workspace_id": created["workspace_id"]}
            await tools.call("workspace_file_write", path="kept", text="kept\n", **at)
        async with connected(world, newest) as client:
            tools = Tools(client, newest)
            read = await tools.call("workspace_file_read", path="kept", **at)
            assert read["content"] == "kept\n", read
            await tools.call("workspace_delete", **at)

    asyncio.run(story())


@cases(*KNOWN_PROTOCOL_VERSIONS)
def test_news_and_taking_back(world, version):
    async def story():
        async with connected(world, version, "--profile", "vm-run") as client:
            heard = []
            here = asyncio.Event()

            async def news(_progress, _total, message):
                heard.append(message)
                if message and "here" in message:
                    here.set()

            long = asyncio.create_task(
                client.call_tool(
                    "vm_run",
                    {
                        "environment": "debian:12",
                        "command": "echo here; sleep 1000",
                        "timeout_seconds": 600,
                        "allow_host_compat": world.on_host,
                    },
                    progress_callback=news,
                )
            )
            await asyncio.wait_for(here.wait(), 120)
            # Others are answered meanwhile.
            assert (await client.list_tools()).tools
            assert world.processes()
            long.cancel()
            await asyncio.gather(long, return_exceptions=True)
            deadline = time.monotonic() + 20
            while world.processes() and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            assert not world.processes(), heard
            assert (await client.list_tools()).tools

    asyncio.run(story())


def test_follows_a_command_that_outlasts_its_patience(world):
    async def story():
        newest = KNOWN_PROTOCOL_VERSIONS[-1]
        at = {"workspace_id": made(world)}
        # As the OpenAI Agents SDK has it wait for 5 s, by the same name.
        async with connected(world, newest, waits=HOST_WAITS, within="3") as client:
            tools = Tools(client, newest)
            begun = await tools.call("workspace_exec", command=LONG, timeout_seconds=120, **at)
            assert begun["running"], begun
            where = {"sequence": begun["sequence"], "offset": begun["stdout_bytes"]}
            # A busy guest may have said nothing by then.
            seen, running = begun["stdout"], True
            while running:
                logs = await tools.call("workspace_logs", wait_seconds=600, **where, **at)
                entry = logs["entries"][0]
                seen, running = seen + entry["stdout"], entry["running"]
                where["offset"] = entry["next_offset"]
            assert (seen, entry["exit_code"]) == ("begun\n186850\n", 0), entry
            await tools.call("workspace_delete", **at)

    asyncio.run(story())
