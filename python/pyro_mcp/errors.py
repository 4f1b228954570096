# Written by `cargo xtask python` from the declarations in pyro-api. Change those instead.
"""One exception for each code of an error.

All are a `PyroError`. What was asked wrongly is a `ValueError` as well, everything else a
`RuntimeError`.
"""

from __future__ import annotations

from ._error import PyroError


class UsageError(PyroError, ValueError):
    """The command line could not be understood."""

    code = "usage"


class InvalidArgumentError(PyroError, ValueError):
    """An argument breaks a rule."""

    code = "invalid_argument"


class UnknownEnvironmentError(PyroError, ValueError):
    """There is no such environment."""

    code = "unknown_environment"


class UnknownVmError(PyroError, ValueError):
    """There is no such VM."""

    code = "unknown_vm"


class UnknownWorkspaceError(PyroError, ValueError):
    """There is no such workspace."""

    code = "unknown_workspace"


class AmbiguousWorkspaceError(PyroError, ValueError):
    """Several workspaces are called so."""

    code = "ambiguous_workspace"


class UnknownFileError(PyroError, ValueError):
    """There is no such file in the workspace, or it is not of the kind that was asked for."""

    code = "unknown_file"


class UnknownSnapshotError(PyroError, ValueError):
    """There is no such snapshot."""

    code = "unknown_snapshot"


class UnknownShellError(PyroError, ValueError):
    """There is no such shell, or not any more."""

    code = "unknown_shell"


class ShellEndedError(PyroError, RuntimeError):
    """The shell has ended."""

    code = "shell_ended"


class UnknownServiceError(PyroError, ValueError):
    """The workspace has no such service."""

    code = "unknown_service"


class BadPathError(PyroError, ValueError):
    """A path leads out of the workspace."""

    code = "bad_path"


class ConflictError(PyroError, RuntimeError):
    """Something is in the way, or changed meanwhile."""

    code = "conflict"


class PatchFailedError(PyroError, RuntimeError):
    """A patch does not fit the files."""

    code = "patch_failed"


class BadSeedError(PyroError, ValueError):
    """A seed or another archive cannot be taken."""

    code = "bad_seed"


class GuestNoSpaceError(PyroError, RuntimeError):
    """No space is left on the guest's disk."""

    code = "guest_no_space"


class GuestIoError(PyroError, RuntimeError):
    """The guest's file system refused."""

    code = "guest_io"


class VmExpiredError(PyroError, RuntimeError):
    """The VM's time to live is over; it was deleted."""

    code = "vm_expired"


class WrongStateError(PyroError, RuntimeError):
    """The VM is in a state that does not allow this."""

    code = "wrong_state"


class MemoryLimitError(PyroError, RuntimeError):
    """The running VMs use all the memory that pyro may use."""

    code = "memory_limit"


class ToolMissingError(PyroError, RuntimeError):
    """A program that pyro needs is not installed."""

    code = "tool_missing"


class VmUnavailableError(PyroError, RuntimeError):
    """This host cannot run a VM, and host execution was not allowed."""

    code = "vm_unavailable"


class BootTimeoutError(PyroError, RuntimeError):
    """The guest did not answer in time."""

    code = "boot_timeout"


class BootFailedError(PyroError, RuntimeError):
    """The guest started and gave up."""

    code = "boot_failed"


class VmDiedError(PyroError, RuntimeError):
    """The VM went away while it was in use."""

    code = "vm_died"


class PullFailedError(PyroError, RuntimeError):
    """An environment could not be built."""

    code = "pull_failed"


class BuildFailedError(PyroError, RuntimeError):
    """A step of a build failed."""

    code = "build_failed"


class DamagedError(PyroError, RuntimeError):
    """An installed environment is not what its manifest says."""

    code = "damaged"


class NoSpaceError(PyroError, RuntimeError):
    """No space is left on a disk of the host."""

    code = "no_space"


class HostIoError(PyroError, RuntimeError):
    """A file or folder of the host could not be used."""

    code = "host_io"


class BadHostConfigError(PyroError, ValueError):
    """The configuration of a program that starts pyro cannot be understood."""

    code = "bad_host_config"


class NewerStateError(PyroError, RuntimeError):
    """The state folder was written by a newer pyro."""

    code = "newer_state"


class UnsupportedError(PyroError, RuntimeError):
    """Not offered here."""

    code = "unsupported"


class CancelledError(PyroError, RuntimeError):
    """The caller cancelled the call, or went away."""

    code = "cancelled"


class InternalError(PyroError, RuntimeError):
    """A fault of pyro itself."""

    code = "internal"


CODES: dict[str, type[PyroError]] = {
    "usage": UsageError,
    "invalid_argument": InvalidArgumentError,
    "unknown_environment": UnknownEnvironmentError,
    "unknown_vm": UnknownVmError,
    "unknown_workspace": UnknownWorkspaceError,
    "ambiguous_workspace": AmbiguousWorkspaceError,
    "unknown_file": UnknownFileError,
    "unknown_snapshot": UnknownSnapshotError,
    "unknown_shell": UnknownShellError,
    "shell_ended": ShellEndedError,
    "unknown_service": UnknownServiceError,
    "bad_path": BadPathError,
    "conflict": ConflictError,
    "patch_failed": PatchFailedError,
    "bad_seed": BadSeedError,
    "guest_no_space": GuestNoSpaceError,
    "guest_io": GuestIoError,
    "vm_expired": VmExpiredError,
    "wrong_state": WrongStateError,
    "memory_limit": MemoryLimitError,
    "tool_missing": ToolMissingError,
    "vm_unavailable": VmUnavailableError,
    "boot_timeout": BootTimeoutError,
    "boot_failed": BootFailedError,
    "vm_died": VmDiedError,
    "pull_failed": PullFailedError,
    "build_failed": BuildFailedError,
    "damaged": DamagedError,
    "no_space": NoSpaceError,
    "host_io": HostIoError,
    "bad_host_config": BadHostConfigError,
    "newer_state": NewerStateError,
    "unsupported": UnsupportedError,
    "cancelled": CancelledError,
    "internal": InternalError,
}


def from_facts(message: str, code: str, causes: list[str], hint: str | None) -> PyroError:
    """Makes the exception of a code."""
    return CODES.get(code, PyroError)(message, code=code, causes=causes, hint=hint)


__all__ = ["PyroError", *sorted(kind.__name__ for kind in CODES.values())]
