"""Takes all there is. Only in a guest of pyro: elsewhere a curious reader would pay for it."""

import os
import socket
import sys
from pathlib import Path


def disk():
    """Takes the whole disk, by reservation: as full as by writing, and at once."""
    _only_in_a_guest()
    size = 1 << 36
    with open("/var/filler", "wb") as filler:
        at = 0
        while size >= 4096:
            try:
                os.posix_fallocate(filler.fileno(), at, size)
                at += size
            except OSError:
                size //= 2
    try:
        Path("/var/one-more").write_text("x" * 65536)
        return "not full"
    except OSError:
        return "full"


def processes():
    """A fork bomb."""
    _only_in_a_guest()
    while True:
        try:
            os.fork()
        except OSError:
            pass


def _only_in_a_guest():
    first = Path("/proc/1/comm").read_text().strip()
    if first != "init" or not socket.gethostname().startswith("pyro-"):
        sys.exit("refused: this is no guest of pyro")
