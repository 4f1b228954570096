"""The tools of a profile for any framework: name, description, JSON schema, callable.

    from pyro_mcp.tools import tool_definitions

    for tool in tool_definitions("vm-run"):
        print(tool.name, tool.description, tool.input_schema)
        print(tool(environment="debian:12", command="uname -r"))

They are the tools of the MCP server, from the same declarations.
"""

from __future__ import annotations

import json

from ._client import Pyro
from .errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._server import Fields, Server

__all__ = ["ToolDefinition", "tool_definitions"]


class ToolDefinition:
    """One tool, to be described to a model and called with what the model answers."""

    def __init__(self, server: Server, tool: Fields) -> None:
        self._server = server
        self.name: str = tool["name"]
        self.title: str = tool["title"]
        self.description: str = tool["description"]
        self.input_schema: dict[str, Any] = tool["inputSchema"]
        self.output_schema: dict[str, Any] = tool["outputSchema"]
        self.annotations: dict[str, Any] = tool["annotations"]
        # What frameworks that take a plain function look at.
        self.__name__ = self.name
        self.__doc__ = self.description

    def __call__(
        self, arguments: str | dict[str, Any] | None = None, /, **named: Any
    ) -> dict[str, Any]:
        """Call the tool, and return its facts.

        A refusal is returned as well, for the model to read: `ok` is false then, and `error`,
        `code`, `causes` and `hint` say the rest.

        Args:
            arguments: By name, as a dictionary or as the JSON text that models answer with.
            **named: More arguments.
        """
        result = self._server.call(self.name, _read(arguments, named))
        facts: dict[str, Any] = result["structuredContent"]
        return facts

    async def acall(
        self, arguments: str | dict[str, Any] | None = None, /, **named: Any
    ) -> dict[str, Any]:
        """The same, to be awaited."""
        result = await self._server.call_tool(self.name, _read(arguments, named))
        facts: dict[str, Any] = result["structuredContent"]
        return facts

    def __repr__(self) -> str:
        return f"<ToolDefinition {self.name}>"


def tool_definitions(
    profile: str = "workspace-core", *, pyro: Pyro | None = None
) -> list[ToolDefinition]:
    """The tools of a profile.

    Args:
        profile: `vm-run`, `workspace-core` or `workspace-full`.
        pyro: Whose settings to use.
    """
    server = (pyro or Pyro()).create_server(profile=profile)
    return [ToolDefinition(server, tool) for tool in server.tools()]


def _read(arguments: str | dict[str, Any] | None, named: dict[str, Any]) -> dict[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as why:
            raise InvalidArgumentError("the arguments are not JSON", causes=[str(why)]) from None
    if arguments is not None and not isinstance(arguments, dict):
        raise InvalidArgumentError("the arguments must be an object")
    return {**(arguments or {}), **named}
