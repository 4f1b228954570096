"""A program on the official Python client of the 1.x line, which never cancels what it gave up.

Makes a workspace, gives up on a command in it, and leaves; prints the workspace's id. An answer that
came while it leaves would be an exception here.
"""

import asyncio
import json
import os
import sys
import time
from datetime import timedelta

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client

PYRO = os.environ["PYRO_BIN"]


async def main(on_host):
    server = StdioServerParameters(command=PYRO, args=["mcp", "serve"], env=dict(os.environ))
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        asked = time.monotonic()
        created = await session.call_tool(
            "workspace_create", {"environment": "debian:12", "allow_host_compat": on_host}
        )
        at = {"workspace_id": created.structuredContent["workspace_id"]}
        # Long enough for the command to begin, which is much less than making a workspace is.
        patience = timedelta(seconds=min(max(2, time.monotonic() - asked), 60))
        command = {"command": "echo begun; sleep 1000", "timeout_seconds": 600}
        try:
            await session.call_tool(
                "workspace_exec", at | command, read_timeout_seconds=patience
            )
        except McpError as error:
            assert "Timed out" in str(error), error
        else:
            raise AssertionError("the command has ended")
    print(json.dumps(at))


asyncio.run(main(sys.argv[1:] == ["on-host"]))
