"""Randomness and names keyed by what they are for, so that a resumed run equals an unbroken one.

Every call derives its own generator from a key such as ``(seed, "validation", row, worker)``. No
stream is shared: the result never depends on batching, on order or on how often a process was
restarted. The values are part of the run format: changing them changes runs that are on disk.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DRAWN = 1 << 18
"""Numbers that are drawn at a time."""


def _hash(key: tuple[str | int, ...], size: int) -> bytes:
    plain = [int(part) if isinstance(part, np.integer) else part for part in key]
    text = json.dumps(plain, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("ascii"), digest_size=size).digest()


def rng(*key: str | int) -> np.random.Generator:
    """The generator of a key: equal keys give equal draws in every process and on every machine.

    ``1`` and ``"1"`` are different keys; ``("a", "b")`` and ``("ab",)`` are, too.
    """
    return np.random.Generator(np.random.PCG64(int.from_bytes(_hash(key, 16), "big")))


def random_keys(rows: NDArray[Any], *key: str | int) -> NDArray[np.float64]:
    """A random number in [0, 1) for each of (n,) rows, in any order: that of a row depends on nothing but the key.

    Numbers up to the largest row are drawn, a block at a time.
    """
    draw, found = rng(*key), np.empty(len(rows))
    end = int(rows.max(initial=-1)) + 1
    by_row = None if (rows[1:] > rows[:-1]).all() else np.argsort(rows, kind="stable")
    ordered = rows if by_row is None else rows[by_row]
    for start in range(0, end, _DRAWN):
        drawn = draw.random(min(_DRAWN, end - start))
        first, last = np.searchsorted(ordered, [start, start + _DRAWN])
        found[slice(first, last) if by_row is None else by_row[first:last]] = drawn[ordered[first:last] - start]
    return found


def digest(*key: str | int, length: int = 16) -> str:
    """The name of a key: ``length`` hexadecimal digits (at most 128) of its BLAKE2b hash.

    A shorter name is the beginning of a longer one.

    Raises:
        ValueError: ``length`` is not between 1 and 128.
    """
    if not 1 <= length <= 128:
        raise ValueError(f"length must be between 1 and 128, got {length}")
    return _hash(key, 64).hex()[:length]
