#!/usr/bin/env bash
# The official Python client of the Model Context Protocol, mcp 1.30.0 (the last of its 1.x line here).
#
# Expected: when a call's own timeout is over, or the task that made it is cancelled, the server hears
# `notifications/cancelled`, as the protocol asks of whoever gives up ("SHOULD issue a cancellation
# notification for that request and stop waiting for a response").
# Seen: the call raises in the client, the session goes on, and the server hears nothing at all, so
# what the call had started runs to its end. mcp 2.3.0 sends the notification in both cases.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# A server that never answers its one tool, and writes down what it hears.
cat >server.py <<'PYTHON'
import json, sys

heard = open(sys.argv[1], "w", buffering=1)


def answer(to, result):
    print(json.dumps({"jsonrpc": "2.0", "id": to, "result": result}), flush=True)


for line in sys.stdin:
    said = json.loads(line)
    print(said["method"], file=heard)
    if said["method"] == "initialize":
        info = {"name": "slow", "version": "1"}
        version = said["params"]["protocolVersion"]
        answer(said["id"], {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
    elif said["method"] == "tools/list":
        answer(said["id"], {"tools": [{"name": "slow", "inputSchema": {"type": "object"}}]})
    elif said["method"] == "ping":
        answer(said["id"], {})
PYTHON

cat >client.py <<'PYTHON'
import sys
from datetime import timedelta
from importlib.metadata import version

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

one_second = timedelta(seconds=1) if version("mcp").startswith("1.") else 1


async def main():
    server = StdioServerParameters(command=sys.executable, args=["server.py", sys.argv[1]])
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        try:
            await session.call_tool("slow", {}, read_timeout_seconds=one_second)
        except Exception as error:
            print("  timeout of the call:", error)
        with anyio.move_on_after(1) as scope:
            await session.call_tool("slow", {})
        print("  task cancelled:", scope.cancelled_caught)
        # Whatever was sent before has arrived when this is answered.
        await session.send_ping()


anyio.run(main)
PYTHON

cannot() {
    echo "could not be tried: $1" >&2
    exit 2
}

heard() {
    python3 -m venv "$1" || cannot "Python has made no environment"
    "$1/bin/pip" install --quiet --disable-pip-version-check "mcp==$1" || cannot "pip has not installed mcp $1"
    echo "mcp $1:"
    timeout 60 "$1/bin/python" client.py "$1.log"
    echo "  the server heard: $(tr '\n' ' ' <"$1.log")"
    cancelled=$(grep -c '^notifications/cancelled$' "$1.log" || true)
}

heard 1.30.0
old=$cancelled
heard 2.3.0
new=$cancelled
# Output on 2026-11-29, with Python 3.11:
#   mcp 1.30.0:
#     timeout of the call: Timed out while waiting for response to ClientRequest. Waited 1.0 seconds.
#     task cancelled: True
#     the server heard: initialize notifications/initialized tools/call tools/call ping
#   mcp 2.3.0:
#     timeout of the call: Request 'tools/call' timed out
#     task cancelled: True
#     the server heard: initialize notifications/initialized tools/call notifications/cancelled tools/call
#     notifications/cancelled ping
[ "$old" -eq 0 ] && [ "$new" -eq 2 ] || {
    echo "changed: $old and $new cancellations, where there were 0 and 2" >&2
    exit 1
}
