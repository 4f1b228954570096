"""The folder, home and state of one page, and what it must not leave behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "pyro-documents-"


class World:
    def __init__(self, pyro):
        self.pyro = Path(pyro).resolve()
        self.problems = []
        # Variables that a watch adds.
        self.more = {}

    def __enter__(self):
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Held for as long as this process lives: a folder whose lock is free is debris.
        self.lock = open(self.folder / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.home = self.folder / "home"
        self.state = self.folder / "state"
        # Where a reader would stand: a checkout, with what pages use of it.
        self.checkout = self.folder / "checkout"
        programs = self.folder / "bin"
        for folder in (self.home, programs):
            folder.mkdir()
        for part in ("examples", "tests/scripted_model"):
            shutil.copytree(
                ROOT / part,
                self.checkout / part,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        # A reader's checkout is a repository, and git takes names from its root.
        subprocess.run(["git", "init", "--quiet", self.checkout], check=True)
        (programs / "pyro").symlink_to(self.pyro)
        dist = ROOT / os.environ.get("PYRO_DIST", "dist")
        if dist.is_dir():
            (self.checkout / "dist").symlink_to(dist)
        return self

    def variables(self):
        """What commands and servers of the page get."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kept.setdefault("PYRO_ENVIRONMENT_CACHE_DIR", str(cache / "pyro" / "environments"))
        kept.pop("PYTHONPATH", None)
        return kept | {
            "HOME": str(self.home),
            "PATH": f"{self.folder / 'bin'}:{kept.get('PATH', '/usr/bin:/bin')}",
            "PYRO_STATE_DIR": str(self.state),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_PAGER": "cat",
            **self.more,
        }

    def __exit__(self, kind, _error, _trace):
        try:
            for workspace in self._workspaces():
                if kind is None:
                    self.problems.append(f"the page leaves the workspace `{workspace}`")
                self._run("workspace", "delete", workspace)
            left = _wait_for_none(self.folder)
            if left and kind is None:
                self.problems.append(f"the page leaves processes: {left}")
        finally:
            _remove(self.folder)
            self.lock.close()

    def _workspaces(self):
        if not (self.state / "pyro.db").exists():
            return []
        listed = json.loads(self._run("workspace", "list", "--json").stdout or "{}")
        return [found["workspace_id"] for found in listed.get("workspaces", [])]

    def _run(self, *arguments):
        return subprocess.run(
            [self.pyro, *arguments],
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


def _sweep():
    """Clears what runners left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _wait_for_none(folder):
    deadline = time.monotonic() + 10
    while True:
        left = _processes(folder)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _remove(folder):
    for pid in _processes(folder):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    _wait_for_none(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(folder):
    """Those whose arguments or working folder lie in the folder."""
    found = []
    inside = os.fsencode(folder) + b"/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                where = os.fsencode(os.readlink(entry / "cwd")) + b"/"
            except OSError:
                continue
            if inside in words or where.startswith(inside):
                found.append(int(entry.name))
    return found
