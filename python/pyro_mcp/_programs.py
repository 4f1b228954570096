"""Where the programs `pyro` and `pyro-agent` of this package are."""

from __future__ import annotations

import os
import sys

from .errors import ToolMissingError

_found: tuple[tuple[str | None, str | None, str], tuple[str, str]] | None = None


def programs() -> tuple[str, str]:
    """The paths of `pyro` and of the guest agent."""
    global _found
    variables = (
        os.environ.get("PYRO_BIN") or None,
        os.environ.get("PYRO_AGENT") or None,
        os.environ.get("PATH", ""),
    )
    if _found is not None and _found[0] == variables and all(map(_runs, _found[1])):
        return _found[1]
    own, own_agent, path = variables
    pyro = own or _first("pyro", "PYRO_BIN", [*_folders(), *_path(path)])
    beside = os.path.dirname(os.path.realpath(pyro))
    agent = own_agent or _first("pyro-agent", "PYRO_AGENT", [beside, *_folders()])
    _found = (variables, (pyro, agent))
    return _found[1]


def _first(name: str, variable: str, folders: list[str]) -> str:
    places = list(dict.fromkeys(os.path.join(folder, name) for folder in folders))
    for place in places:
        if _runs(place):
            return place
    raise ToolMissingError(
        f"The program `{name}` was not found",
        causes=[f"{variable} is not set", *(f"there is no {place}" for place in places)],
        # By its file: the name alone is another program's on PyPI.
        hint="Install the wheel again (`pip install --force-reinstall pyro_mcp-….whl`; in a checkout "
        f"`make wheel` builds it into dist/), or set {variable} to the path of `{name}`",
    )


def _folders() -> list[str]:
    """Where installers put the programs of a package, the likeliest first."""
    import sysconfig

    here = os.path.dirname(os.path.abspath(__file__))
    packages = os.path.dirname(here)
    folders = []
    # The environment that this package lies in, which need not be the interpreter's own:
    # `PREFIX/lib/python3.x/site-packages/pyro_mcp`.
    for up in (packages, os.path.join(packages, "..", "..", "..")):
        # The former after `pip install --target FOLDER`.
        folders.append(os.path.normpath(os.path.join(up, "bin")))
    folders.reverse()
    folders.append(sysconfig.get_path("scripts"))
    user = "posix_user" if sys.version_info < (3, 10) else sysconfig.get_preferred_scheme("user")
    try:
        folders.append(sysconfig.get_path("scripts", scheme=user))
    except KeyError:
        pass
    return list(dict.fromkeys(folders))


def _path(path: str) -> list[str]:
    return [folder for folder in path.split(os.pathsep) if os.path.isabs(folder)]


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
