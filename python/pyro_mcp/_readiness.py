"""`readiness`, one dictionary in the contract's method, as the operation's fields."""

from __future__ import annotations

from .errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VALUES = {"file": "path", "tcp": "address", "http": "url", "command": "command"}


def ready_fields(readiness: object) -> dict[str, Any]:
    """`{"type": "tcp", "address": …}` becomes `{"ready_tcp": …}`."""
    if readiness is None:
        return {}
    if not isinstance(readiness, dict):
        raise InvalidArgumentError("readiness must be a dictionary with a `type`")
    kind = readiness.get("type")
    if not isinstance(kind, str) or kind not in _VALUES:
        kinds = ", ".join(f"`{known}`" for known in _VALUES)
        raise InvalidArgumentError(f"the readiness type must be one of {kinds}, not `{kind}`")
    wanted = _VALUES[kind]
    if set(readiness) != {"type", wanted}:
        raise InvalidArgumentError(f"readiness of type `{kind}` takes `type` and `{wanted}`")
    return {f"ready_{kind}": readiness[wanted]}
