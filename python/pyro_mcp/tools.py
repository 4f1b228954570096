"""The tools of a profile for any framework: name, description, JSON schema, callable.

    from pyro_mcp.tools import tool_definitions

    for tool in tool_definitions("vm-run"):
        print(tool.name, tool.description, tool.input_schema)
        print(tool(environment="debian:12", command="uname -r"))

They are the tools of the MCP server, from the same declarations. For a provider's own loop, all of
them at once take the form that its requests have, and answer what the model calls:

    tools = tool_definitions("workspace-core")
    client.responses.create(model=…, input=…, tools=tools.openai_responses())
    tools.answer(call.name, call.arguments)
"""

from __future__ import annotations

import json
from typing import List

from ._bounded import LONGEST, bounded
from ._client import Pyro
from ._error import PyroError
from .errors import InvalidArgumentError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._server import Fields, Server

__all__ = ["ToolDefinition", "ToolDefinitions", "tool_definitions"]


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

    def answer(
        self,
        arguments: str | dict[str, Any] | None = None,
        longest: int = LONGEST,
        /,
        **named: Any,
    ) -> str:
        """Call the tool, and return its facts as JSON text for a model: bounded, and never an
        exception for what the model did wrong or pyro could not do.

        Args:
            arguments: By name, as a dictionary or as the JSON text that models answer with.
            longest: How many characters the answer may have. Texts and lists are shortened in the
                middle until it fits. By position only, as every name is an argument of the tool's.
            **named: More arguments.
        """
        try:
            facts = self(arguments, **named)
        except PyroError as error:
            facts = _refusal(error)
        return bounded(facts, longest)

    async def aanswer(
        self,
        arguments: str | dict[str, Any] | None = None,
        longest: int = LONGEST,
        /,
        **named: Any,
    ) -> str:
        """The same, to be awaited."""
        try:
            facts = await self.acall(arguments, **named)
        except PyroError as error:
            facts = _refusal(error)
        return bounded(facts, longest)

    def openai_responses(self) -> dict[str, Any]:
        """The tool as a request of the OpenAI Responses API has it."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.input_schema,
            # The strict mode knows no optional arguments.
            "strict": False,
        }

    def openai_chat(self) -> dict[str, Any]:
        """The tool as a request of the Chat Completions protocol has it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.input_schema,
        }
        return {"type": "function", "function": function}

    def anthropic(self) -> dict[str, Any]:
        """The tool as a request of the Anthropic Messages API has it."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": self.input_schema,
        }

    def __repr__(self) -> str:
        return f"<ToolDefinition {self.name}>"


class ToolDefinitions(List[ToolDefinition]):
    """The tools of a profile: a list, and the whole of it for a provider."""

    def openai_responses(self) -> list[dict[str, Any]]:
        """For `tools` of the OpenAI Responses API."""
        return [tool.openai_responses() for tool in self]

    def openai_chat(self) -> list[dict[str, Any]]:
        """For `tools` of the Chat Completions protocol: OpenAI, Ollama, and many others."""
        return [tool.openai_chat() for tool in self]

    def anthropic(self) -> list[dict[str, Any]]:
        """For `tools` of the Anthropic Messages API."""
        return [tool.anthropic() for tool in self]

    def answer(
        self,
        name: str,
        arguments: str | dict[str, Any] | None = None,
        *,
        longest: int = LONGEST,
    ) -> str:
        """Call the tool that a model named, and return its answer as text (see
        `ToolDefinition.answer`). A name that no tool has is answered, too."""
        try:
            tool = self._find(name)
        except PyroError as error:
            return bounded(_refusal(error), longest)
        return tool.answer(arguments, longest)

    async def aanswer(
        self,
        name: str,
        arguments: str | dict[str, Any] | None = None,
        *,
        longest: int = LONGEST,
    ) -> str:
        """The same, to be awaited."""
        try:
            tool = self._find(name)
        except PyroError as error:
            return bounded(_refusal(error), longest)
        return await tool.aanswer(arguments, longest)

    def _find(self, name: str) -> ToolDefinition:
        for tool in self:
            if tool.name == name:
                return tool
        raise UnsupportedError(
            f"Unknown tool: {name}", hint="The tools are " + ", ".join(tool.name for tool in self)
        )


def tool_definitions(
    profile: str = "workspace-core", *, pyro: Pyro | None = None
) -> ToolDefinitions:
    """The tools of a profile.

    Args:
        profile: `vm-run`, `workspace-core` or `workspace-full`.
        pyro: Whose settings to use.
    """
    server = (pyro or Pyro()).create_server(profile=profile)
    return ToolDefinitions(ToolDefinition(server, tool) for tool in server.tools())


def _refusal(error: PyroError) -> dict[str, Any]:
    """The document that a server answers a refused call with."""
    facts: dict[str, Any] = {"ok": False, "error": error.message, "code": error.code}
    if error.causes:
        facts["causes"] = error.causes
    if error.hint:
        facts["hint"] = error.hint
    return facts


def _read(arguments: str | dict[str, Any] | None, named: dict[str, Any]) -> dict[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as why:
            raise InvalidArgumentError("the arguments are not JSON", causes=[str(why)]) from None
        except RecursionError:
            raise InvalidArgumentError("the arguments are nested too deeply") from None
    if arguments is not None and not isinstance(arguments, dict):
        raise InvalidArgumentError("the arguments must be an object")
    return {**(arguments or {}), **named}
