"""Formats of documents, as a run tells them (`#` for a number, `~` for a reversed one) and as evidence keeps them."""

from __future__ import annotations

from collections.abc import Iterable


def same_form(a: str, b: str) -> bool:
    """Whether two formats agree; a `?` agrees with either order of digits."""
    return len(a) == len(b) and all(x == y or "?" in (x, y) for x, y in zip(a, b, strict=True))


def agree(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether each format of one side agrees with each of the other."""
    others = tuple(others)
    return all(same_form(a, b) for a in some for b in others)
