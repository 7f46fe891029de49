"""What torch.compile brings for the predictions of detector torchvision, on this machine's processor.

One image at a time and one thread, as the detector predicts there; processor time, in turns.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from time import process_time
from typing import Any

import torch

from gtloop_plugins.detectors.torchvision import classes, dense, segments, weights

NETWORKS: dict[str, tuple[Callable[[], Any], Callable[[Any, Any], Any], tuple[int, int]]] = {
    "bbox": (lambda: dense.build(3, 64, 2, False), dense.forward, (256, 320)),
    "classification": (lambda: classes.build(3, 2, False), classes.forward, (160, 224)),
    "segmentation": (lambda: segments.build(3, 64, 2, False), segments.forward, (320, 416)),
}
"""How each task's network is made and run, and the (height, width) of a 4:3 photograph as it looks at it."""


def spent() -> float:
    """Processor seconds of this process and those that it waited for."""
    return process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def measure(task: str, rounds: int) -> str:
    """One line about one network."""
    build, run, size = NETWORKS[task]
    net = build()
    weights.fold_batch_norm(net["body"])
    net = net.to(memory_format=torch.channels_last).eval()
    images = torch.rand(1, 3, *size).contiguous(memory_format=torch.channels_last)

    def timed() -> float:
        start = process_time()
        run(net, images)
        return process_time() - start

    plain = net["body"].forward
    compiled = torch.compile(plain)
    least = {"plain": float("inf"), "compiled": float("inf")}
    with torch.inference_mode():
        net["body"].forward = compiled
        start = spent()
        timed()
        took = spent() - start
        for _ in range(rounds):
            for name, forward in (("plain", plain), ("compiled", compiled)):
                net["body"].forward = forward
                least[name] = min(least[name], timed())
    ratio = least["plain"] / least["compiled"]
    times = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in least.items())
    return f"{task}: {times}, {ratio:.2f} times as fast; compiling took {took:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(NETWORKS), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=20, help="times that each is run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for task in given.tasks.split(","):
        print(measure(task, given.rounds), flush=True)


if __name__ == "__main__":
    main()
