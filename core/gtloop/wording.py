"""Words that messages share."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``2 aliases``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}{'es' if noun.endswith('s') else 's'}"


def some(names: list[str], most: int = 5) -> str:
    """The first names of many: ``a, b, ...``."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
