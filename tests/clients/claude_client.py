"""Claude Code: its list of servers, and a whole loop with a scripted model. Needs no account."""

import json
import os

from hosts import ANSWERS, HOST_WAITS, PROMPT, alone, connect, examine, long_script, play

CLAUDE = os.environ.get("PYRO_CLIENTS_CLAUDE", "claude")

QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    # With an API key it would first ask for the settings of an organisation, for 20 seconds.
    "ANTHROPIC_AUTH_TOKEN": "none",
}


def test_connects(world):
    (world.home / ".claude.json").write_text(json.dumps({"mcpServers": {}}, indent=2))
    connected = connect(world, "claude-code")
    assert connected["outcome"] == "added", connected
    assert connected["entry"]["command"] == "pyro", connected
    assert connect(world, "claude-code")["outcome"] == "unchanged"
    listed = world.run([CLAUDE, "mcp", "list"], **alone(None) | QUIET)
    line = next((line for line in listed.stdout.splitlines() if line.startswith("pyro:")), "")
    assert "Connected" in line, listed
    # It has rewritten the file meanwhile; the entry is what it was.
    assert len(json.loads((world.home / ".claude.json").read_text())) > 1
    assert connect(world, "claude-code")["outcome"] == "unchanged"
    assert examine(world, "claude-code")["healthy"]


def test_plays_a_whole_loop(world):
    connect(world, "claude-code")
    command = [CLAUDE, "--print", PROMPT, "--allowedTools", "mcp__pyro", "--model", "scripted"]
    play(world, command, "messages", ANTHROPIC_BASE_URL="MODEL", **QUIET)


def test_plays_a_command_that_outlasts_its_patience(world):
    connect(world, "claude-code", ANSWERS)
    command = [CLAUDE, "--print", PROMPT, "--allowedTools", "mcp__pyro", "--model", "scripted"]
    waits = {"MCP_TOOL_TIMEOUT": str(HOST_WAITS * 1000)}
    play(world, command, "messages", long_script, ANTHROPIC_BASE_URL="MODEL", **waits, **QUIET)
