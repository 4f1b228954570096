"""`scripts/documents [PAGE…]`: plays pages, and tells page and line of what is not true."""

from __future__ import annotations

import os
import signal
import shutil
import sys
import time
from pathlib import Path

from .page import PageError
from .player import Player
from .world import ROOT

# What is played when no page is named.
PAGES = ["*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "examples/projects/*/README.md", "python/README.md"]


def main(names):
    pyro = os.environ.get("PYRO_BIN") or shutil.which("pyro")
    if not pyro:
        sys.exit("documents: there is no `pyro`; `make build` makes one, PYRO_BIN names another")
    # An end by a signal clears up like any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    paths = [Path(name).resolve() for name in names]
    paths = paths or sorted(found for pattern in PAGES for found in ROOT.glob(pattern))
    for path in paths:
        if not path.is_file():
            sys.exit(f"documents: there is no page {path}")
    bad = [path for path in paths if not played(path, pyro)]
    print(f"documents: {len(paths) - len(bad)} of {len(paths)} pages are true")
    sys.exit(1 if bad else 0)


def played(path, pyro):
    name = os.path.relpath(path, ROOT)
    player = Player(path, name, pyro, os.environ.get("PYRO_DOCUMENTS_PYTHON"))
    begun = time.monotonic()
    try:
        good = player.play()
    except PageError as error:
        print(error)
        return False
    for line, sentence in player.problems:
        print(f"{name}:{line}: {sentence}")
    for line, reason in player.left_out:
        print(f"{name}:{line}: not played: {reason}")
    counts = ", ".join(f"{count} {what}" for what, count in player.counts.items() if count)
    verdict = "true" if good else "NOT TRUE"
    print(
        f"{name}: {verdict} ({counts or 'nothing to play'}, {len(player.left_out)} not played, "
        f"{time.monotonic() - begun:.1f} s)",
        flush=True,
    )
    return good


main(sys.argv[1:])
