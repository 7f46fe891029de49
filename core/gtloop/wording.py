"""Words that messages share."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``2 aliases``, ``2 entries``, ``2 days``."""
    if n == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{n} {noun[:-1]}ies"
    return f"{n} {noun}{'es' if noun.endswith('s') else 's'}"


def some(names: list[str], most: int = 5) -> str:
    """The first names of many: ``a, b, ...``."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
