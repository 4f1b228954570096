"""`pyro mcp serve` as a host runs it, and the calls of a page."""

from __future__ import annotations

import shlex
import subprocess

from mcp_stdio import Session

from .child import PATIENCE, let_go


class Server(Session):
    def __init__(self, world, command):
        self.log = open(world.folder / "server.log", "ab")
        words = shlex.split(command)
        pyro = words.index("pyro")
        settings = dict(word.split("=", 1) for word in words[:pyro])
        process = subprocess.Popen(
            [world.pyro, *words[pyro + 1 :]],
            cwd=world.checkout,
            env=world.variables() | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        super().__init__(process, "documents", PATIENCE)

    def close(self):
        let_go(self.process)
        super().close()
        self.log.close()
