"""Programs that run for a whole page: asked line by line, and let go at its end."""

from __future__ import annotations

import os
import select
import subprocess

# No step of a page may take longer, in seconds.
PATIENCE = 180


def ask(process, line, status):
    """What the program tells of this line on the descriptor `status`; None when it took too long."""
    try:
        process.stdin.write(line)
        process.stdin.flush()
        ready, _, _ = select.select([status], [], [], PATIENCE)
        told = os.read(status, 64) if ready else b""
    except BrokenPipeError:
        told = b""
    return int(told) if told.strip() else None


def let_go(process):
    """Ends a program that ends with its input, and one that does not."""
    process.stdin.close()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
