"""OpenCode's list of servers, which connects to each. Needs no account."""

import json
import os
import re

from world import PYRO

OPENCODE = os.environ.get("PYRO_CLIENTS_OPENCODE", "opencode")


def test_connects(world):
    config = {"mcp": {"pyro": {"type": "local", "command": [PYRO, "mcp", "serve"]}}}
    (world.home / "opencode.json").write_text(json.dumps(config))
    listed = world.run([OPENCODE, "mcp", "list"])
    words = re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout + listed.stderr)
    line = next((line for line in words.splitlines() if re.search(r"\bpyro\b", line)), "")
    assert "connected" in line and "disconnected" not in line, listed
