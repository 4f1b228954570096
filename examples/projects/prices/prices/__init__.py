"""Prices of a shop, in cents."""

from .cart import total

__all__ = ["total"]
