"""What a GPU asks for: half precision, pinned transfers, and as many images at a time as its memory holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")

MOST = 256
"""Images that are ever predicted at once."""


def half(device: Any, on: bool) -> AbstractContextManager[Any]:
    """Convolutions and matrices in 16 bits where ``on``: float16 on CUDA, which rounds less; bfloat16 elsewhere."""
    import torch

    made: AbstractContextManager[Any] = nullcontext()
    if on:
        made = torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16)
    return made


def moved(array: NDArray[Any], device: Any) -> Any:
    """An array as a tensor on ``device``; to CUDA from pinned memory, while the processor goes on."""
    import torch

    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def most_together(run: Callable[[int], object], least: int, most: int = MOST) -> int:
    """The largest of ``least``, twice, four times, ... that ``run`` finds memory for, up to ``most``."""
    import torch

    n = least
    try:
        while 2 * n <= most:
            run(2 * n)
            n *= 2
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    return n


def halving(run: Callable[[int], T], together: int) -> tuple[T, int]:
    """What ``run`` returns for ``together`` images at a time, or half as many as often as memory does not do.

    Returns the number that did, too.

    Raises:
        torch.OutOfMemoryError: Not even one image fits.
    """
    import torch

    while True:
        try:
            return run(together), together
        except torch.OutOfMemoryError:
            if together == 1:
                raise
        torch.cuda.empty_cache()
        together //= 2
