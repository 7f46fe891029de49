"""Masks as files: index PNGs, where the value of a pixel is a number, not a colour.

What the formats share that keep segmentations as pictures; which number means what is theirs to say.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from gtloop.errors import BadLabels

INDEX_MODES = ("1", "L", "P", "I", "I;16")
"""Pillow's modes of pictures with one number a pixel."""


def colours() -> NDArray[np.uint8]:
    """(256, 3) RGB of the colour map of Pascal VOC's development kit (``VOClabelcolormap.m``): all differ, 0 is black.

    The bits of an index go to red, green and blue in turn, the highest bits of the colours first.
    """
    index = np.arange(256)
    found = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            if 3 * bit + channel < 8:
                found[:, channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return found.astype(np.uint8)


def is_index_png(path: Path) -> bool:
    """Whether a file is a PNG with one number a pixel; reads its header only."""
    return _mode(path) in INDEX_MODES


def colour_fault(path: Path) -> str:
    """Why a PNG with colours is no mask; empty where it has none, or is no PNG."""
    mode = _mode(path)
    return "" if not mode or mode in INDEX_MODES else _colours(mode)


def _colours(mode: str) -> str:
    return f"has colours ({mode}); needs an index PNG, with one number a pixel: convert it"


def _mode(path: Path) -> str:
    """Pillow's mode of a PNG, from its header; empty where it is none."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""


def read_index(path: Path, where: str = "") -> NDArray[np.int32]:
    """(H, W) numbers of an index PNG, as stored in it.

    Args:
        path: The PNG: palette, or grey of 1 to 16 bits.
        where: What an error starts with; the path where it is empty.

    Raises:
        BadLabels: It can't be read, or has colours instead of numbers.
    """
    from PIL import Image

    where = where or str(path)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in INDEX_MODES:
                raise BadLabels(f"{where} {_colours(image.mode)}")
            values = np.asarray(image).astype(np.int32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise BadLabels(f"{where} can't be read as a PNG ({e}); write it again") from e
    return values // _stretch(path)


def write_index(path: Path, values: NDArray[np.integer], palette: NDArray[np.uint8] | None = None) -> None:
    """Write (H, W) numbers as an index PNG: 8 bits with a palette ((256, 3) RGB), 16 bits grey without."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint16 if palette is None else np.uint8))
    if palette is not None:
        image.putpalette(palette.tobytes())
    image.save(path, format="PNG")


def file_name(taken: set[str], name: str, row: int) -> str:
    """Relative path of a PNG for the image ``name``, of no path in ``taken`` (to which it is added).

    It is the image's own path with the suffix ``.png``; with ``.png`` added where another image has that; and
    ``row-N.png`` where the name is none for a file.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    candidates = [f"row-{row}.png", f"row-{row}-{len(taken)}.png"]
    if path.name and not path.is_absolute() and ".." not in path.parts and "\0" not in name:
        candidates = [str(path.with_suffix(".png")), f"{path}.png", *candidates]
    for chosen in candidates:
        if _fits(taken, chosen):
            break
    folded = PurePosixPath(chosen.casefold())
    taken.update({str(folded), *(f"{folder}/" for folder in folded.parents)})
    return chosen


def _fits(taken: set[str], name: str) -> bool:
    """Whether a file of that name can be made: not too long, no other's, no other's folder, below no other."""
    folded = PurePosixPath(name.casefold())
    others = {str(folded), f"{folded}/", *(str(folder) for folder in folded.parents)}
    return not others & taken and all(len(os.fsencode(part)) <= 255 for part in PurePosixPath(name).parts)


def _stretch(path: Path) -> int:
    """What Pillow multiplied by: it stretches grey of 2 and 4 bits to the range of 8."""
    with path.open("rb") as file:
        head = file.read(26)
    depth, colour = head[24], head[25]
    return 255 // (2**depth - 1) if colour == 0 and depth in (2, 4) else 1
