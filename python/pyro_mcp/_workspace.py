"""One workspace, for a block of code or for as long as one likes."""

from __future__ import annotations

import warnings

from ._methods import WorkspaceMethods
from ._names import methods_of
from .errors import PyroError, UnknownWorkspaceError, WrongStateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._methods import Methods


class Workspace(WorkspaceMethods):
    """A workspace whose methods leave out the id.

    `Pyro.workspace` makes one for `with`, `Pyro.attach` finds one that is there already and
    leaves it there.
    """

    def __init__(
        self,
        pyro: Methods,
        *,
        workspace_id: str | None = None,
        create: dict[str, Any] | None = None,
        keep: bool = False,
    ) -> None:
        self._pyro = pyro
        self._id = workspace_id
        self._create = create
        self._keep = keep

    @property
    def workspace_id(self) -> str:  # type: ignore[override]
        """The id by which every surface knows it."""
        return known(self._id)

    def __enter__(self) -> Workspace:
        if self._create is not None:
            if self._id is not None:
                raise entered()
            self._id = self._pyro._call("workspace_create", self._create)["workspace_id"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._create is None or self._keep:
            return
        workspace_id, self._id = self.workspace_id, None
        try:
            self._delete(workspace_id)
        except PyroError as failed:
            # What went wrong in the block matters more.
            if error is None:
                raise
            note_left(error, workspace_id, failed)
        except BaseException as interrupt:
            # Ctrl-C meanwhile; that is no reason to leave it behind.
            try:
                self._delete(workspace_id)
            except BaseException as failed:
                note_left(interrupt, workspace_id, failed)
            raise

    def _delete(self, workspace_id: str) -> None:
        try:
            self._pyro._call("workspace_delete", {"workspace_id": workspace_id})
        except UnknownWorkspaceError:
            pass  # Deleted in the block.

    def __repr__(self) -> str:
        return f"<Workspace {self._id or 'not created yet'}>"


methods_of("Workspace", WorkspaceMethods)


def known(workspace_id: str | None) -> str:
    if workspace_id is None:
        raise WrongStateError(
            "There is no workspace here",
            causes=["`Pyro.workspace` creates it when a `with` block begins"],
            hint="Use `with pyro.workspace(...) as workspace:`",
        )
    return workspace_id


def entered() -> PyroError:
    return WrongStateError(
        "This workspace is in use by a `with` block already",
        hint="Call `pyro.workspace(...)` once for each block",
    )


def note_left(error: BaseException, workspace_id: str, failed: BaseException) -> None:
    """Says with an error that goes on its way which workspace is left, and why."""
    why = str(failed) or type(failed).__name__
    note = f"workspace {workspace_id} could not be deleted: {why}"
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:
        # Python before 3.11.
        warnings.warn(note, RuntimeWarning, stacklevel=3)
