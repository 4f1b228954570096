"""A state folder and a home of its own for each story, and what they must not leave behind."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PYRO = os.environ.get("PYRO_BIN") or shutil.which("pyro")

# No command of a story may take longer, in seconds.
PATIENCE = 300


class World:
    def __enter__(self):
        if not PYRO:
            raise RuntimeError("set PYRO_BIN to the `pyro` under test (`make build` makes one)")
        self.folder = Path(tempfile.mkdtemp(prefix="pyro-clients-"))
        self.home = self.folder / "home"
        self.state = self.folder / "state"
        self.home.mkdir()
        return self

    def __exit__(self, kind, _error, _trace):
        try:
            left = self.processes()
            deadline = time.monotonic() + 10
            while left and time.monotonic() < deadline:
                time.sleep(0.05)
                left = self.processes()
            if kind is None and left:
                raise AssertionError(f"left behind: {left}")
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def on_host(self):
        """Whether workspaces are processes of this host, for a quick look without a VM."""
        return os.environ.get("PYRO_BACKEND") == "process"

    def variables(self):
        """What makes a server one of this world; clients pass on little of their own."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("PYRO_")}
        home = Path.home()
        kept.setdefault("PYRO_ENVIRONMENT_CACHE_DIR", str(cache(home)))
        return kept | {"PYRO_STATE_DIR": str(self.state), "PYRO_BIN": PYRO}

    def run(self, command, **variables):
        """Runs a client's command line in the home of this world."""
        return subprocess.run(
            command,
            cwd=self.home,
            env=os.environ | self.variables() | {"HOME": str(self.home)} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def wait_for_no_vm(self):
        """The folder of a one-shot VM goes a moment after the call that it was for has ended."""
        folder = self.state / "vms"
        left = sorted(folder.iterdir()) if folder.exists() else []
        deadline = time.monotonic() + PATIENCE
        while left:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
            left = sorted(folder.iterdir())

    def processes(self):
        """Those whose arguments name the state folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.state) in words:
                    found.append(int(entry.name))
        return found


def cache(home):
    """Where the environments are, whatever home a client is given."""
    base = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(base) / "pyro" / "environments"


def cases(*values):
    """Plays a story once for each of these."""

    def mark(function):
        function.cases = [(value,) for value in values]
        return function

    return mark
