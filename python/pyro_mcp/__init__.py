"""Disposable and lasting Linux workspaces in virtual machines, for coding agents.

    from pyro_mcp import Pyro

    pyro = Pyro()
    result = pyro.run_in_vm(environment="debian:12", command="git --version")
    print(result["stdout"])

`Pyro` has every operation as a method, `AsyncPyro` the same for asyncio, `create_server` makes
the MCP server, `pyro_mcp.tools` yields the same tools for other frameworks, and `pyro_mcp.errors`
has one exception for each code.
"""

from __future__ import annotations

import atexit
import os

try:
    from . import _pyro
except ImportError as missing:
    raise ImportError(
        f"the compiled part of pyro_mcp cannot be loaded: {missing}; looked for _pyro.abi3.so in "
        f"{', '.join(__path__)}. Install the wheel of this system (Linux, x86-64, CPython 3.9 or "
        "later); in a checkout `make wheel` builds it into dist/",
        name=missing.name,
        path=missing.path,
    ) from missing

from . import errors
from ._client import Pyro, VmManager
from ._error import PyroError
from ._pyro import __version__
from ._server import Server, create_server
from ._workspace import Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._asynchronous import AsyncPyro, AsyncWorkspace

__all__ = [
    "AsyncPyro",
    "AsyncWorkspace",
    "Pyro",
    "PyroError",
    "Server",
    "VmManager",
    "Workspace",
    "__version__",
    "create_server",
    "errors",
]

atexit.register(_pyro.shutdown)
os.register_at_fork(after_in_child=_pyro.after_fork_in_child)


def __getattr__(name: str) -> object:
    # asyncio takes longer to import than everything else here.
    if name in ("AsyncPyro", "AsyncWorkspace"):
        from . import _asynchronous

        return getattr(_asynchronous, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
