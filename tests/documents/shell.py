"""One bash for a whole page: folders and variables last from one command to the next."""

from __future__ import annotations

import os
import signal
import subprocess

from .child import ask


class Shell:
    def __init__(self, world):
        self.files = world.folder / "steps"
        self.files.mkdir()
        self.status, theirs = os.pipe()
        self.number = 0
        self.output = open(self.files / "messages", "wb")
        self.bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=world.checkout,
            env=world.variables(),
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)
        self.told_on = theirs

    def run(self, command):
        """Its exit status, None when it took too long, and what it printed on either stream."""
        self.number += 1
        script = self.files / f"{self.number}.sh"
        printed = self.files / f"{self.number}.out"
        script.write_text(command + "\n")
        # `$?` is what the command before left, as a reader would see it. The descriptor is for this
        # shell only: what a command leaves running in the background must not hold it.
        line = f". '{script}' >'{printed}' 2>&1 </dev/null {self.told_on}>&-; told=$?; "
        line += f"echo $told >&{self.told_on}; (exit $told)\n"
        status = ask(self.bash, line.encode(), self.status)
        output = printed.read_text(errors="replace") if printed.exists() else ""
        return status, output

    def close(self):
        try:
            os.killpg(self.bash.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.bash.wait()
        self.bash.stdin.close()
        self.output.close()
        os.close(self.status)
