"""Masks as Label Studio's brush has them: run lengths of an RGBA image, packed bit by bit.

The packing is that of ``@thi.ng/rle-pack``: 32 bits with the number of values, 5 with the bits of a value less 1, four
times 4 with the bits of a block's length less 1; then blocks: 1 bit (one value repeated, or values one by one), 2 bits
(which of the four), the length less 1, the value or values. A value is a byte of (R, G, B, A), pixel by pixel along the
rows; the mask is what is opaque. Frame: the image as displayed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gtloop.masks import Mask

OPAQUE = 128
"""Least alpha of a pixel that is in the mask: brushes have soft edges."""

_LENGTHS = (3, 4, 8, 16)
_LONGEST = 1 << _LENGTHS[-1]
_WORD = 8
_CHANNELS = 4
_HEADER = 32 + 5 + 4 * len(_LENGTHS)


def encode(mask: Mask) -> list[int]:
    """The bytes of an (H, W) mask."""
    flat = np.asarray(mask, bool).ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [len(flat)]])
    value = bool(flat[0]) if len(flat) else False
    bits = [f"{len(flat) * _CHANNELS:032b}{_WORD - 1:05b}", *(f"{n - 1:04b}" for n in _LENGTHS)]
    for length in (np.diff(bounds) * _CHANNELS).tolist():
        bits += _blocks(length, "1" * _WORD if value else "0" * _WORD)
        value = not value
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _blocks(length: int, value: str) -> list[str]:
    """Blocks that repeat a value ``length`` times."""
    found = []
    while length:
        some = min(length, _LONGEST)
        which = next(n for n, size in enumerate(_LENGTHS) if some <= 1 << size)
        found.append(f"1{which:02b}{some - 1:0{_LENGTHS[which]}b}{value}")
        length -= some
    return found


def decode(code: Sequence[int], size: tuple[int, int]) -> Mask:
    """The (H, W) mask of bytes; ``size`` is (H, W).

    Raises:
        ValueError: They are no such bytes, or of an image of another size.
    """
    try:
        data = bytes(code)
    except (TypeError, ValueError):
        raise ValueError("no list of bytes") from None
    bits = _Bits(data)
    values = size[0] * size[1] * _CHANNELS
    if len(data) * 8 < _HEADER or bits.read(32) != values:
        raise ValueError(f"no brush strokes of an image of {size[1]} x {size[0]} pixels")
    if bits.read(5) + 1 != _WORD:
        raise ValueError("no values of 8 bits")
    lengths = [bits.read(4) + 1 for _ in _LENGTHS]
    found = np.zeros(values, np.uint8)
    at = 0
    while at < values:
        repeated = bits.read(1)
        end = at + 1 + bits.read(lengths[bits.read(2)])
        if end > values:
            raise ValueError("more values than the image has")
        if repeated:
            found[at:end] = bits.read(_WORD)
        else:
            number = bits.read((end - at) * _WORD)
            found[at:end] = np.frombuffer(number.to_bytes(end - at, "big"), np.uint8)
        at = end
    mask: Mask = found.reshape(*size, _CHANNELS)[..., _CHANNELS - 1] >= OPAQUE
    return mask


class _Bits:
    """Numbers of any width, one after the other, from bytes; the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, width: int) -> int:
        end = self._at + width
        if end > len(self._data) * 8:
            raise ValueError("the brush strokes break off")
        window = int.from_bytes(self._data[self._at >> 3 : (end + 7) >> 3], "big")
        self._at = end
        return window >> (-end % 8) & ((1 << width) - 1)
