"""`pyro mcp serve` as a host runs it, and the calls of a page."""

from __future__ import annotations

import json
import queue
import shlex
import subprocess
import threading

from .child import PATIENCE, let_go

REVISION = "2025-06-18"


class CallError(Exception):
    """The server did not answer as the protocol has it."""


class Server:
    def __init__(self, world, command):
        self.log = open(world.folder / "server.log", "ab")
        words = shlex.split(command)
        pyro = words.index("pyro")
        settings = dict(word.split("=", 1) for word in words[:pyro])
        self.process = subprocess.Popen(
            [world.pyro, *words[pyro + 1 :]],
            cwd=world.checkout,
            env=world.variables() | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.number = 0
        client = {"name": "documents", "version": "1"}
        self._request(
            "initialize",
            {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client},
        )
        self._send({"method": "notifications/initialized"})

    def call(self, tool, arguments):
        """The facts of the answer, and whether it is an error."""
        result = self._request("tools/call", {"name": tool, "arguments": arguments})
        return result["structuredContent"], result.get("isError", False)

    def close(self):
        let_go(self.process)
        self.reader.join(timeout=5)
        self.process.stdout.close()
        self.log.close()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def _request(self, method, params):
        self.number += 1
        try:
            self._send({"id": self.number, "method": method, "params": params})
            while True:
                line = self.lines.get(timeout=PATIENCE)
                if line is None:
                    raise CallError("the server has ended")
                message = json.loads(line)
                if message.get("id") == self.number and "method" not in message:
                    break
        except queue.Empty:
            raise CallError(f"no answer within {PATIENCE} s") from None
        except BrokenPipeError:
            raise CallError("the server has ended") from None
        if "error" in message:
            raise CallError(json.dumps(message["error"]))
        return message["result"]
