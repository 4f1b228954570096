"""What all errors of pyro have in common."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence


class PyroError(Exception):
    """A failed operation: what failed, why, and how to fix it.

    A command that fails inside a guest is no error: it is a result with an `exit_code`.
    """

    code: str = "internal"
    """A stable name for programs."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        causes: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.causes = list(causes)
        self.hint = hint

    @property
    def cause(self) -> str | None:
        """Why, nearest cause first; all of them are in `causes`."""
        return self.causes[0] if self.causes else None

    def __str__(self) -> str:
        lines = [self.message]
        for cause in self.causes:
            lines.append("  cause: " + cause.replace("\n", "\n    "))
        if self.hint:
            lines.append("hint: " + self.hint)
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Callable[..., PyroError], tuple[Any, ...]]:
        # Through pickle, as between the processes of a pool.
        return _restored, (type(self), self.message, self.code, self.causes, self.hint)


def _restored(
    kind: type[PyroError], message: str, code: str, causes: list[str], hint: str | None
) -> PyroError:
    return kind(message, code=code, causes=causes, hint=hint)
