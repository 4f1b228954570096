"""A client of an MCP server that is a child of ours, in the standard library alone."""

import json
import queue
import threading

REVISION = "2025-06-18"


class CallError(Exception):
    """The server did not answer as the protocol has it."""


class Session:
    """A conversation, line by line, with a process whose input and output are pipes.

    `client` is the name that the server is told. No answer may take longer than `patience`, in
    seconds.
    """

    def __init__(self, process, client, patience):
        self.process = process
        self.patience = patience
        self.number = 0
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.request(
            "initialize",
            {
                "protocolVersion": REVISION,
                "capabilities": {},
                "clientInfo": {"name": client, "version": "1"},
            },
        )
        self._send({"method": "notifications/initialized"})

    def call(self, tool, arguments):
        """The facts of the answer, and whether it is an error."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        return result["structuredContent"], result.get("isError", False)

    def request(self, method, params):
        self.number += 1
        try:
            self._send({"id": self.number, "method": method, "params": params})
            while True:
                line = self.lines.get(timeout=self.patience)
                if line is None:
                    raise CallError("the server has ended")
                message = json.loads(line)
                if message.get("id") == self.number and "method" not in message:
                    break
        except queue.Empty:
            raise CallError(f"no answer within {self.patience} s") from None
        except BrokenPipeError:
            raise CallError("the server has ended") from None
        if "error" in message:
            raise CallError(json.dumps(message["error"]))
        return message["result"]

    def close(self):
        """What is left to do when the process has ended."""
        self.reader.join(timeout=5)
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()
