"""What GPUs ask for: half precision, pinned transfers, as many images at a time as memory holds, and work for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")
Place = TypeVar("Place")

MOST = 256
"""Images that are ever predicted at once."""


log = logging.getLogger("gtloop.detectors.torchvision")


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


def spread(run: Callable[[Place, Sequence[Any]], list[T]], places: Sequence[Place], items: Sequence[Any]) -> list[T]:
    """What ``run`` returns for the items, in order: equal parts of them, one for each place, in threads of their own.

    A thread waits for its device without Python's lock.
    """
    if len(places) == 1:
        return run(places[0], items)
    each = -(-len(items) // len(places))
    parts = [items[i : i + each] for i in range(0, len(items), each)]
    with ThreadPoolExecutor(len(places), "gtloop-device") as pool:
        return [found for part in pool.map(run, places, parts) for found in part]


def compile_body(net: Any) -> None:
    """Have torch compile what does most of the work, in place: a detector's or segmenter's backbone, or all of ``net``.

    Where that fails, now or for another size of image, a warning says so and the network goes on as it is.
    """
    import torch

    def compiled(part: Any) -> Callable[..., Any]:
        plain, fast = part.forward, torch.compile(part.forward)
        given_up = False

        def forward(*given: Any, **named: Any) -> Any:
            nonlocal given_up
            if not given_up:
                try:
                    return fast(*given, **named)
                except torch.OutOfMemoryError:
                    raise
                except Exception as e:
                    given_up = True
                    log.warning("torch.compile failed, predicting goes on without: %s", " ".join(str(e).split())[:200])
            return plain(*given, **named)

        return forward

    part = net["body"] if isinstance(net, torch.nn.ModuleDict) else getattr(net, "backbone", net)
    part.forward = compiled(part)
