"""What Python's own refusals of arguments call a method."""

from __future__ import annotations


def methods_of(called: str, methods: type) -> None:
    """Lets the methods that a public class inherits carry its name."""
    for name, method in vars(methods).items():
        if callable(method) and not name.startswith("_"):
            method.__qualname__ = f"{called}.{name}"
