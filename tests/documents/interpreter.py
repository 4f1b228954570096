"""One Python for a whole page: what a block defines, the next one has."""

from __future__ import annotations

import json
import os
import subprocess

from .child import ask, let_go

# Runs in the interpreter that has the wheel. Each line asks for a block to be played; the answer, on the
# descriptor that the first argument names, is its status.
LOOP = """
import json, os, sys, traceback
told, names = int(sys.argv[1]), {"__name__": "__main__"}
for line in sys.stdin:
    asked = json.loads(line)
    kept = os.dup(1), os.dup(2)
    file = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1); os.dup2(file, 2)
    status = 0
    try:
        exec(compile(asked["source"], asked["name"], "exec"), names)
    except BaseException:
        traceback.print_exc(); status = 1
    sys.stdout.flush(); sys.stderr.flush()
    os.dup2(kept[0], 1); os.dup2(kept[1], 2)
    os.close(file); os.close(kept[0]); os.close(kept[1])
    os.write(told, b"%d\\n" % status)
"""


class Interpreter:
    def __init__(self, world, python):
        self.files = world.folder / "python"
        self.files.mkdir()
        self.number = 0
        self.status, theirs = os.pipe()
        # The programs of Python's calls are those of the wheel.
        variables = world.variables()
        for name in ("PYRO_BIN", "PYRO_AGENT"):
            variables.pop(name, None)
        self.process = subprocess.Popen(
            [python, "-c", LOOP, str(theirs)],
            cwd=world.checkout,
            env=variables,
            stdin=subprocess.PIPE,
            pass_fds=[theirs],
        )
        os.close(theirs)

    def run(self, name, source):
        """Whether it went well (None when it took too long), and what it printed."""
        self.number += 1
        output = self.files / f"{self.number}.out"
        asked = {"name": name, "source": source, "output": str(output)}
        status = ask(self.process, json.dumps(asked).encode() + b"\n", self.status)
        text = output.read_text(errors="replace") if output.exists() else ""
        return status, text

    def close(self):
        let_go(self.process)
        os.close(self.status)
