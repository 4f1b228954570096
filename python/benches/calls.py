"""How long things take from Python: the import, and commands in a workspace. Prints medians.

    scripts/python bench-calls [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 50


def milliseconds(do, rounds=ROUNDS):
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        do()
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    return statistics.median(taken), taken[0], taken[-1]


def started(program):
    """How long an interpreter takes with a program."""
    return lambda: subprocess.run([sys.executable, "-I", "-c", program], check=True)


def imported():
    """How long the import alone takes, as a fresh interpreter sees it."""
    program = (
        "import time; begun = time.perf_counter(); import pyro_mcp; "
        "print((time.perf_counter() - begun) * 1000)"
    )
    rounds = [
        float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(min(ROUNDS, 20))
    ]
    rounds.sort()
    return statistics.median(rounds), rounds[0], rounds[-1]


def show(what, measured):
    median, least, most = measured
    print(f"| {what} | {median:.1f} | {least:.1f} | {most:.1f} |", flush=True)


def main():
    print("| milliseconds | median | least | most |\n|---|---|---|---|")
    show("`import pyro_mcp`", imported())
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as folder:
        os.environ["PYRO_STATE_DIR"] = str(Path(folder, "state"))
        from pyro_mcp import Pyro

        show("`Pyro()`", milliseconds(Pyro))
        with Pyro().workspace(environment="debian:12") as workspace:
            workspace.exec(command="true")
            given = workspace.workspace_id
            show(
                '`Pyro().exec_workspace(id, command="true")`',
                milliseconds(lambda: Pyro().exec_workspace(given, command="true")),
            )
            command = f"from pyro_mcp import Pyro; Pyro().exec_workspace({given!r}, command='true')"
            show("a program that does just that", milliseconds(started(command), min(ROUNDS, 20)))
            show("a program that does nothing", milliseconds(started(""), min(ROUNDS, 20)))
        given = dict(environment="debian:12", command="true")
        show(
            '`Pyro().run_in_vm(environment="debian:12", command="true")`',
            milliseconds(lambda: Pyro().run_in_vm(**given), min(ROUNDS, 20)),
        )


if __name__ == "__main__":
    main()
