"""Checks of what only Python can be given."""

from __future__ import annotations

from .errors import InvalidArgumentError


def check_callback(on_output: object) -> bool:
    """Whether there is a callback for output, before anything runs that it could not hear."""
    if on_output is not None and not callable(on_output):
        raise InvalidArgumentError(
            f"on_output must be callable, not {_shown(on_output)}",
            hint='Give a function of two arguments: `"stdout"` or `"stderr"`, and bytes',
        )
    return on_output is not None


def check_workspace_id(workspace_id: object) -> str:
    hint = "Give a workspace's id, a beginning of it, or its name, as `list_workspaces` shows them"
    if not isinstance(workspace_id, str):
        raise InvalidArgumentError(
            f"workspace_id must be text, not {_shown(workspace_id)}", hint=hint
        )
    if not workspace_id.strip():
        raise InvalidArgumentError("workspace_id is empty", hint=hint)
    return workspace_id


def _shown(value: object) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return f"`{value!r:.60}`"
    return f"a value of type `{type(value).__name__}`"
