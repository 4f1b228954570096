"""Codex: its list of servers, and a whole loop with a scripted model. Needs no account."""

import json
import os
import tomllib

from hosts import ANSWERS, HOST_WAITS, PROMPT, alone, connect, examine, long_script, play

CODEX = os.environ.get("PYRO_CLIENTS_CODEX", "codex")

# Somebody's own file, with comments.
MINE = """\
# A model on this machine.
model = "scripted"
model_provider = "scripted"

[model_providers.scripted]
name = "scripted"
base_url = "MODEL/v1"
wire_api = "responses"
# It is never far away.
request_max_retries = 0
"""


def prepare(world, text, *words):
    folder = world.home / ".codex"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)
    connected = connect(world, "codex", *words)
    assert connected["outcome"] == "added" and connected["entry"]["command"] == "pyro", connected
    assert (folder / "config.toml").read_text().startswith(text)


def test_connects(world):
    prepare(world, MINE)
    listed = world.run([CODEX, "mcp", "list", "--json"], **alone(None))
    assert listed.returncode == 0, listed
    pyro = next(server for server in json.loads(listed.stdout) if server["name"] == "pyro")
    assert pyro["enabled"], pyro
    assert pyro["transport"]["command"] == "pyro", pyro
    # It only reads the file; the doctor starts the server.
    assert examine(world, "codex")["healthy"]
    written = tomllib.loads((world.home / ".codex/config.toml").read_text())
    assert written["mcp_servers"]["pyro"]["args"] == ["mcp", "serve"], written


# Where the model is, is known only when it is played. Nobody is there to approve of a call.
GIVEN = ["-c", 'model_providers.scripted.base_url="MODEL/v1"']
GIVEN += ["-c", 'mcp_servers.pyro.default_tools_approval_mode="approve"']
GIVEN += ["--skip-git-repo-check"]


def test_plays_a_whole_loop(world):
    prepare(world, MINE)
    play(world, [CODEX, "exec", *GIVEN, PROMPT], "responses")


def test_plays_a_command_that_outlasts_its_patience(world):
    prepare(world, MINE, ANSWERS)
    waits = ["-c", f"mcp_servers.pyro.tool_timeout_sec={HOST_WAITS}"]
    play(world, [CODEX, "exec", *waits, *GIVEN, PROMPT], "responses", long_script)
