"""`Pyro`: every operation as a method that waits."""

from __future__ import annotations

import os
import warnings

from ._arguments import check_callback, check_workspace_id
from ._error import PyroError
from ._methods import Methods
from ._names import methods_of
from ._programs import programs
from ._pyro import Engine
from ._server import Server
from ._workspace import Workspace
from .errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import results
    from ._methods import OnOutput


# What makes something that lasts, by what it is deleted, and what its id is called.
_MAKES = {
    "vm_create": ("vm_delete", "vm_id"),
    "workspace_create": ("workspace_delete", "workspace_id"),
}


class VmManager:
    """Where things are kept and what runs VMs. Several `Pyro` objects may share one.

    Args:
        backend_name: `auto` (the default), `qemu`, or `process`: processes of this host without
            isolation, for tests, which calls must allow with `allow_host_compat=True`. The names
            `firecracker` and `mock` of earlier versions mean `qemu` and `process`.
        base_dir: The state folder: records and disks.
        cache_dir: The folder of environments.
        max_active_vms: Without effect, and here for programs that give it: the memory of this
            host is what limits running VMs (`PYRO_MEMORY_SHARE`).

    What is not given comes from the environment, as for the `pyro` command.
    """

    def __init__(
        self,
        *,
        backend_name: str | None = None,
        base_dir: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        max_active_vms: int = 4,
    ) -> None:
        if isinstance(max_active_vms, bool) or not isinstance(max_active_vms, int):
            raise InvalidArgumentError("max_active_vms must be a whole number")
        pyro, agent = programs()
        self._engine = Engine(
            pyro=pyro,
            agent=agent,
            backend=_text("backend_name", backend_name),
            state_dir=_folder("base_dir", base_dir),
            cache_dir=_folder("cache_dir", cache_dir),
        )

    def delete_vm(self, vm_id: str, *, reason: str = "explicit_delete") -> dict[str, Any]:
        """Delete a VM; the reason comes back in the result."""
        return self._delete("vm_delete", {"vm_id": vm_id}, reason)

    def delete_workspace(
        self, workspace_id: str, *, reason: str = "explicit_delete"
    ) -> dict[str, Any]:
        """Delete a workspace; the reason comes back in the result."""
        return self._delete("workspace_delete", {"workspace_id": workspace_id}, reason)

    def _take_back(self, operation: str, made: dict[str, Any] | None) -> None:
        """Deletes what a call made that came to its end when it was to be given up: nobody knows
        of it."""
        if made is not None and operation in _MAKES:
            delete, name = _MAKES[operation]
            try:
                self._engine.start(delete, {name: made[name]}).wait()
            except PyroError as failed:
                note = f"{name} {made[name]} could not be deleted: {failed}"
                warnings.warn(note, RuntimeWarning, stacklevel=2)

    def _delete(self, operation: str, arguments: dict[str, Any], reason: str) -> dict[str, Any]:
        result: dict[str, Any] = self._engine.start(operation, arguments).wait()
        result["reason"] = reason
        return result


class Pyro(Methods):
    """Runs commands in Linux virtual machines, once or in workspaces that last.

    Args:
        manager: A `VmManager` to use; the other arguments are ignored then.
        backend_name: See `VmManager`, as for the others.
        base_dir: The state folder.
        cache_dir: The folder of environments.
        max_active_vms: Without effect.

    Methods may be called from many threads at once. Workspaces outlive the program; VMs that
    `create_vm` and `run_in_vm` start end with it.
    """

    def __init__(
        self,
        manager: VmManager | None = None,
        *,
        backend_name: str | None = None,
        base_dir: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        max_active_vms: int = 4,
    ) -> None:
        if manager is None:
            manager = VmManager(
                backend_name=backend_name,
                base_dir=base_dir,
                cache_dir=cache_dir,
                max_active_vms=max_active_vms,
            )
        elif not isinstance(manager, VmManager):
            raise InvalidArgumentError("manager must be a VmManager")
        self._manager = manager

    @property
    def manager(self) -> VmManager:
        """What this object uses."""
        return self._manager

    def create_server(self, *, profile: str = "workspace-core") -> Server:
        """The MCP server, with the tools of a profile.

        Args:
            profile: `vm-run`, `workspace-core` or `workspace-full`.
        """
        return Server(self._manager._engine, profile)

    def attach(self, workspace_id: str) -> Workspace:
        """An existing workspace, whose methods leave out the id.

        Args:
            workspace_id: Its id, a prefix of it, or its name. The first use checks that it
                exists.
        """
        return Workspace(self, workspace_id=check_workspace_id(workspace_id))

    def _call(
        self, operation: str, arguments: dict[str, Any], on_output: OnOutput | None = None
    ) -> Any:
        heard = check_callback(on_output)
        call = self._manager._engine.start(operation, arguments, output=heard)
        try:
            return call.wait(on_output)
        except BaseException:
            self._manager._take_back(operation, call.cancel())
            raise


methods_of("Pyro", Methods)


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be text")
    return value


def _folder(name: str, value: object) -> str | None:
    if value is None:
        return None
    try:
        folder = os.fsdecode(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidArgumentError(f"{name} must be a path") from None
    if not folder.strip():
        raise InvalidArgumentError(
            f"{name} is empty", hint=f"Leave {name} out for the usual folder, or give a path"
        )
    return os.path.abspath(os.path.expanduser(folder))
