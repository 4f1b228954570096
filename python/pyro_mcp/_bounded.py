"""Facts as JSON text of a bounded length, for the context of a model."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST = 32_768
"""Characters: some ten thousand tokens."""

# Less than this of a text says nothing.
_SHORTEST = 32


def bounded(facts: dict[str, Any], longest: int = LONGEST) -> str:
    """As JSON. What is too long loses the middle of its longest texts and lists."""
    text = _written(facts)
    keep = longest // 2
    while len(text) > longest and keep >= _SHORTEST:
        text = _written(_shortened(facts, keep))
        keep //= 2
    if len(text) > longest:
        # Too many facts for so little room.
        left: dict[str, Any] = {
            name: facts[name] for name in ("ok", "code", "exit_code") if name in facts
        }
        left["left_out"] = f"the answer has more than {longest} characters"
        text = _written(left)
    return text


def _written(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Half of a pair of surrogates, which no encoding can carry, as JSON writes it.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _shortened(value: Any, keep: int) -> Any:
    if isinstance(value, str) and len(value) > keep:
        half = keep // 2
        return f"{value[:half]}[… {len(value) - 2 * half} characters left out …]{value[-half:]}"
    if isinstance(value, dict):
        return {name: _shortened(inner, keep) for name, inner in value.items()}
    if isinstance(value, list):
        # An entry is rarely shorter than this.
        most = max(keep // _SHORTEST, 2)
        if len(value) > most:
            half = most // 2
            gap = f"… {len(value) - 2 * half} entries left out …"
            value = [*value[:half], gap, *value[-half:]]
        return [_shortened(inner, keep) for inner in value]
    return value
