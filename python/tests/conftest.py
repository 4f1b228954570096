"""A state folder for each test, and what it must not leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

# No program of a test may take longer, in seconds.
PATIENCE = 180

HOST = {"allow_host_compat": True}

# In the background of a script Ctrl-C is ignored, and what is ignored stays so in other programs.
signal.signal(signal.SIGINT, signal.default_int_handler)


class World:
    """A state folder, on host processes or with real VMs."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.folder = Path(tempfile.mkdtemp(prefix="pyro-python-"))
        self.state = self.folder / "state"

    @property
    def allowed(self):
        """What calls that start a VM take in this world."""
        return HOST if self.backend == "process" else {}

    def variables(self):
        return {"PYRO_STATE_DIR": str(self.state), "PYRO_BACKEND": self.backend}

    def start(self, program, *args, **more):
        """Another interpreter of this environment, with a program of its own."""
        more.setdefault("env", os.environ | self.variables())
        more.setdefault("cwd", self.folder)
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, program, *args, **more):
        """The same, run to its end: what it printed."""
        with self.start(program, *args, **more) as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        return out

    def pyro(self, *args):
        """The `pyro` of this environment: what it printed."""
        done = subprocess.run(
            [Path(sys.prefix, "bin", "pyro"), *args],
            env=os.environ | self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self):
        """Those that name the state folder in their arguments or work below it."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes()
                    inside = os.readlink(entry / "cwd").startswith(str(self.state))
                except OSError:
                    continue
                if inside or os.fsencode(self.state) in words:
                    found.append((int(entry.name), words.replace(b"\0", b" ").decode()))
        return found

    def sleeping(self, seconds):
        """Those that sleep for so long; other tests of this machine have theirs."""
        return [pid for pid, words in self.processes() if words == f"sleep {seconds} "]

    def vms(self):
        """Folders of one-shot VMs."""
        folder = self.state / "vms"
        return sorted(folder.iterdir()) if folder.exists() else []

    def assert_empty(self):
        """No process of this world, and nothing of a one-shot VM."""
        eventually(lambda: not self.processes(), lambda: self.processes())
        eventually(lambda: not self.vms(), lambda: self.vms())

    def clear_away(self):
        for pid, _ in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def eventually(happens, told=lambda: "", seconds=20):
    """Waits until something happens."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def in_world(backend, monkeypatch):
    world = World(backend)
    for name, value in world.variables().items():
        monkeypatch.setenv(name, value)
    try:
        yield world
        world.assert_empty()
    finally:
        world.clear_away()


@pytest.fixture
def world(monkeypatch):
    """On host processes."""
    yield from in_world("process", monkeypatch)


@pytest.fixture
def vms(monkeypatch):
    """With real VMs."""
    yield from in_world("qemu", monkeypatch)


@pytest.fixture
def pyro(world):
    from pyro_mcp import Pyro

    return Pyro()


@pytest.fixture
def workspace(world, pyro):
    """A workspace on host processes."""
    with pyro.workspace(environment="debian:12", **world.allowed) as workspace:
        yield workspace
