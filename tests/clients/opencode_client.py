"""OpenCode: its list of servers, and a whole loop with a scripted model. Needs no account."""

import json
import os
import re

from hosts import (
    ANSWERS,
    HOST_WAITS,
    PROMPT,
    alone,
    connect,
    examine,
    long_script,
    plain,
    play,
)

OPENCODE = os.environ.get("PYRO_CLIENTS_OPENCODE", "opencode")

# Somebody's own file, with comments.
MINE = """\
{
  // Keep this machine quiet.
  "autoupdate": false,
  "share": "disabled",
  "model": "scripted/scripted",
  "small_model": "scripted/scripted",
  "provider": {
    "scripted": {
      "npm": "@ai-sdk/openai-compatible",
      "options": { "baseURL": "{env:SCRIPTED_MODEL}/v1", "apiKey": "none" },
      "models": { "scripted": { "tool_call": true } },
    },
  },
}
"""


def prepare(world, *words):
    folder = world.home / ".config/opencode"
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").write_text(MINE)
    connected = connect(world, "opencode", *words)
    assert connected["outcome"] == "added" and connected["entry"]["command"] == "pyro", connected
    text = (folder / "opencode.jsonc").read_text()
    assert text.startswith(MINE[:60]), text


def quiet(world):
    return {
        "XDG_CONFIG_HOME": str(world.home / ".config"),
        "XDG_DATA_HOME": str(world.home / ".local/share"),
        "XDG_STATE_HOME": str(world.home / ".local/state"),
        "XDG_CACHE_HOME": str(world.home / ".cache"),
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        # They would be fetched.
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    }


def test_connects(world):
    prepare(world)
    listed = world.run([OPENCODE, "mcp", "list"], **alone(None) | quiet(world))
    words = plain(listed.stdout + listed.stderr)
    line = next((line for line in words.splitlines() if re.search(r"\bpyro\b", line)), "")
    assert "connected" in line and "disconnected" not in line, listed
    assert examine(world, "opencode")["healthy"]


def test_plays_a_whole_loop(world):
    prepare(world)
    play(world, [OPENCODE, "run", PROMPT], "chat_completions", **quiet(world))


def test_plays_a_command_that_outlasts_its_patience(world):
    prepare(world, ANSWERS)
    file = world.home / ".config/opencode/opencode.jsonc"
    entry = re.compile(r'"pyro":\s*\{')
    text, changed = entry.subn(f'"pyro": {{ "timeout": {HOST_WAITS * 1000},', file.read_text())
    assert changed == 1, text
    file.write_text(text)
    play(world, [OPENCODE, "run", PROMPT], "chat_completions", long_script, **quiet(world))
