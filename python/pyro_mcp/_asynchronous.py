"""`AsyncPyro`: the same methods for asyncio."""

from __future__ import annotations

import asyncio
from functools import partial

from ._arguments import check_callback, check_workspace_id
from ._async_methods import AsyncMethods, AsyncWorkspaceMethods
from ._client import Pyro, VmManager
from ._names import methods_of
from ._workspace import entered, known, note_left
from .errors import PyroError, UnknownWorkspaceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import Any, Callable

    from ._async_methods import OnOutput
    from ._pyro import Call
    from ._server import Server


# How many pieces of output are taken before others of the event loop have their turn.
AT_ONCE = 16


class AsyncPyro(AsyncMethods):
    """`Pyro` with methods to be awaited. Cancelling one ends what it had started.

    Takes what `Pyro` takes.
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
        self._plain = Pyro(
            manager,
            backend_name=backend_name,
            base_dir=base_dir,
            cache_dir=cache_dir,
            max_active_vms=max_active_vms,
        )

    @property
    def manager(self) -> VmManager:
        """What this object uses."""
        return self._plain.manager

    def create_server(self, *, profile: str = "workspace-core") -> Server:
        """The MCP server, with the tools of a profile; see `Pyro.create_server`."""
        return self._plain.create_server(profile=profile)

    def attach(self, workspace_id: str) -> AsyncWorkspace:
        """An existing workspace, whose methods leave out the id.

        Args:
            workspace_id: Its id, a prefix of it, or its name. The first use checks that it
                exists.
        """
        return AsyncWorkspace(self, workspace_id=check_workspace_id(workspace_id))

    async def _call(
        self, operation: str, arguments: dict[str, Any], on_output: OnOutput | None = None
    ) -> Any:
        heard = check_callback(on_output)
        manager = self._plain.manager
        call = manager._engine.start(operation, arguments, output=heard, wakeup=True)
        return await answer(call, on_output, partial(manager._take_back, operation))


class AsyncWorkspace(AsyncWorkspaceMethods):
    """A workspace whose methods leave out the id; see `AsyncPyro.workspace` and `attach`."""

    def __init__(
        self,
        pyro: AsyncMethods,
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

    async def __aenter__(self) -> AsyncWorkspace:
        if self._create is not None:
            if self._id is not None:
                raise entered()
            created = await self._pyro._call("workspace_create", self._create)
            self._id = created["workspace_id"]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._create is None or self._keep:
            return
        workspace_id, self._id = self.workspace_id, None
        call = self._pyro._call("workspace_delete", {"workspace_id": workspace_id})
        deleting = asyncio.ensure_future(call)
        cancelled: asyncio.CancelledError | None = None
        while not deleting.done():
            try:
                await asyncio.wait([deleting])
            except asyncio.CancelledError as why:
                # Cancelled meanwhile; that is no reason to leave it behind.
                cancelled = why
        try:
            deleting.result()
        except UnknownWorkspaceError:
            pass  # Deleted in the block.
        except (PyroError, asyncio.CancelledError) as failed:
            # What went wrong in the block matters more.
            more = cancelled or error
            if more is None:
                raise
            note_left(more, workspace_id, failed)
        if cancelled is not None:
            raise cancelled

    def __repr__(self) -> str:
        return f"<AsyncWorkspace {self._id or 'not created yet'}>"


methods_of("AsyncPyro", AsyncMethods)
methods_of("AsyncWorkspace", AsyncWorkspaceMethods)


async def answer(
    call: Call,
    on_output: OnOutput | None = None,
    take_back: Callable[[Any], None] | None = None,
) -> Any:
    """Waits for a call without holding up the event loop.

    `take_back` is for a result that had come when the call was cancelled. It may wait.
    """
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    wakeup = call.fileno()
    loop.add_reader(wakeup, woken.set)
    done = False
    try:
        while True:
            await woken.wait()
            woken.clear()
            call.clear_wakeup()
            heard_of = 0
            while (heard := call.poll()) is not None:
                stream, what = heard
                heard_of += 1
                if heard_of % AT_ONCE == 0:
                    await asyncio.sleep(0)
                if stream is None:
                    done = True
                    return what
                if on_output is not None:
                    on_output(stream, what)  # type: ignore[arg-type]
    except PyroError:
        done = True
        raise
    finally:
        loop.remove_reader(wakeup)
        if not done:
            # Off the loop, as what the call had started is cleared away first.
            await asyncio.shield(loop.run_in_executor(None, ended, call, take_back))


def ended(call: Call, take_back: Callable[[Any], None] | None) -> None:
    """Ends a call."""
    late = call.cancel()
    if take_back is not None:
        take_back(late)
