"""Claude Code's list of servers, which connects to each. Needs no account."""

import os

from world import PYRO

CLAUDE = os.environ.get("PYRO_CLIENTS_CLAUDE", "claude")


def test_connects(world):
    added = world.run([CLAUDE, "mcp", "add", "pyro", "--", PYRO, "mcp", "serve"])
    assert added.returncode == 0, added
    listed = world.run([CLAUDE, "mcp", "list"])
    line = next((line for line in listed.stdout.splitlines() if line.startswith("pyro:")), "")
    assert "Connected" in line, listed
