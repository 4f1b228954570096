"""Codex: its list of servers, and a whole loop with a scripted model. Needs no account."""

import json
import os
import tomllib

from hosts import PROMPT, alone, connect, examine, play

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


def prepare(world, text):
    folder = world.home / ".codex"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)
    connected = connect(world, "codex")
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


def test_plays_a_whole_loop(world):
    prepare(world, MINE)
    # Where the model is, is known only now. Nobody is there to approve of a call.
    given = ["-c", 'model_providers.scripted.base_url="MODEL/v1"']
    given += ["-c", 'mcp_servers.pyro.default_tools_approval_mode="approve"']
    given += ["--skip-git-repo-check"]
    play(world, [CODEX, "exec", *given, PROMPT], "responses")
