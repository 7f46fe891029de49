"""Pictures of birds with exact truth, for ``gtloop demo``: painted, seeded, made offline.

Every picture depends on (seed, index) and its size only, never on how many are made.

Difficulty, fixed before the loop was tuned: detector ``torchvision`` fitted on 200 pictures for 12 epochs has, on
400 others, a mean image mIoU of .525 and an oracle coverage of .555 at .6 (``benchmarks/demo_difficulty.py``).
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gtloop.errors import UsageError
from gtloop.interfaces import Progress, quiet
from gtloop_plugins.demo.backgrounds import HABITATS
from gtloop_plugins.demo.compose import Drawn, Painter, compose
from gtloop_plugins.demo.paint import Array, Rng, noise
from gtloop_plugins.demo.species import SPECIES

__all__ = ["EMPTY_SHARE", "SPECIES", "TASKS", "Scene", "make_scene", "write_dataset"]

VERSION = 2
"""Of the pictures: raised when the same seed no longer gives the same ones."""
TASKS = ("bbox", "classification", "segmentation")
EMPTY_SHARE = 0.09
COUNTS = (0.42, 0.30, 0.16, 0.08, 0.04)
MIN_VISIBLE = 0.2
MIN_PIXELS = 80
SMALLEST_SIDE = 96

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """One picture and the truth about it.

    Attributes:
        image: RGB.
        boxes: (species, (x1, y1, x2, y2)) of each bird: the extent of its visible pixels, in absolute
            pixels; x2 and y2 are the far edges of the last pixels.
        mask: (h, w) uint8 of visible pixels: 0 background, i + 1 for species i.
        species: The species with most visible pixels; None where there is no bird.
        jpeg: The encoded file that ``image`` was decoded from.
    """

    image: Image.Image
    boxes: list[tuple[str, Box]]
    mask: NDArray[np.uint8]
    species: str | None
    jpeg: bytes


def make_scene(
    seed: int,
    index: int,
    size: tuple[int, int] = (320, 240),
    max_birds: int = 5,
    *,
    empty: float = EMPTY_SHARE,
    among: tuple[str, ...] = SPECIES,
) -> Scene:
    """Paint picture ``index`` of the series ``seed``.

    Args:
        seed: Of the series.
        index: Of the picture in it.
        size: (width, height) in pixels.
        max_birds: At most so many birds.
        empty: Probability that there is no bird.
        among: The species that may occur.

    Raises:
        UsageError: A picture so small that no bird would be large enough to see.
    """
    if min(size) < SMALLEST_SIDE:
        raise UsageError(
            f"demo pictures of {size[0]}x{size[1]} pixels are too small; use sides of at least {SMALLEST_SIDE}"
        )
    draw = np.random.default_rng([seed, index, 0])
    wanted = 0
    if draw.random() >= empty:
        wanted = min(1 + int(draw.choice(len(COUNTS), p=COUNTS)), max_birds)
    main = among[int(draw.integers(len(among)))]
    place = HABITATS[main][int(draw.integers(len(HABITATS[main])))]
    attempt = 0
    while True:
        attempt += 1
        rng = np.random.default_rng([seed, index, attempt])
        painter = compose(rng, place, main, wanted, size, among)
        found = [(b, b.alpha > 0.5) for b in painter.birds]
        if all(m.sum() >= max(MIN_PIXELS, MIN_VISIBLE * b.whole) for b, m in found) and len(found) >= min(wanted, 1):
            return _finish(painter, found, rng)


def _finish(painter: Painter, found: list[tuple[Drawn, NDArray[np.bool_]]], rng: Rng) -> Scene:
    """Light, lens, sensor and JPEG; then the truth."""
    canvas = _photograph(painter.canvas, painter.light, rng)
    h, w = canvas.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    boxes: list[tuple[str, Box]] = []
    for bird, seen in found:
        mask[seen] = SPECIES.index(bird.species) + 1
        ys, xs = np.nonzero(seen)
        boxes.append((bird.species, (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))))
    main = max(found, key=lambda pair: int(pair[1].sum()))[0].species if found else None
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "JPEG", quality=int(rng.integers(58, 94)))
    image = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    return Scene(image, boxes, mask, main, file.getvalue())


def _photograph(canvas: Array, light: tuple[float, float], rng: Rng) -> NDArray[np.uint8]:
    h, w = canvas.shape[:2]
    gain = float(np.exp(rng.normal(0, 0.16)))
    tint = 1 + np.array([1, 0.1, -1], np.float32) * rng.normal(0, 0.06)
    xs = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    ys = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    field = (
        1 + rng.uniform(0, 0.14) * (light[0] * xs + 0.5 * light[1] * ys) - rng.uniform(0, 0.16) * (xs**2 + ys**2) / 2
    )
    dapple = 1 + rng.choice([0.0, 0.12]) * noise(rng, w, h, (w * 0.3, h * 0.3), 3)
    out = canvas * (gain * field * dapple)[..., None] * tint
    contrast = float(np.exp(rng.normal(0.03, 0.13)))
    middle = out.mean()
    out = (out - middle) * contrast + middle
    grey = out.mean(axis=2, keepdims=True)
    out = grey + (out - grey) * float(rng.uniform(0.75, 1.15))
    image = Image.fromarray(out.clip(0, 255).astype(np.uint8))
    blur = abs(rng.normal(0, 0.55)) * min(h, w) / 240
    if blur > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(float(blur)))
    grain = rng.standard_normal((h, w, 1), dtype=np.float32) * 0.7
    grain = grain + rng.standard_normal((h, w, 3), dtype=np.float32) * 0.7
    noisy = np.asarray(image, np.float32) + grain * float(rng.gamma(2.0, 1.1))
    return noisy.clip(0, 255).astype(np.uint8)


def _payload(scene: Scene, task: str, name: str) -> dict[str, Any]:
    if task == "classification":
        return {"category": scene.species}
    if task == "segmentation":
        return {"mask": f"masks/{name}.png"}
    return {"boxes": [{"category": "bird", "xyxy": list(box)} for _, box in scene.boxes]}


def _make(folder: str, seed: int, index: int, size: tuple[int, int], task: str) -> str:
    """Write one picture's files; returns its line of the truth."""
    name = f"{index:05d}"
    one = task == "classification"
    scene = make_scene(seed, index, size, 1 if one else 5, empty=0.0 if one else EMPTY_SHARE)
    write_bytes(Path(folder) / "images" / f"{name}.jpg", scene.jpeg)
    if task == "segmentation":
        file = io.BytesIO()
        Image.fromarray((scene.mask > 0).astype(np.uint8)).save(file, "PNG")
        write_bytes(Path(folder) / "masks" / f"{name}.png", file.getvalue())
    return json.dumps({"name": f"{name}.jpg", "payload": _payload(scene, task, name)})


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)


def _lines(jobs: list[tuple[str, int, int, tuple[int, int], str]], workers: int) -> Iterator[str]:
    """The truth of the jobs, in order."""
    done = 0
    if workers > 1:
        try:
            # Spawned, since forking a process that runs threads (torch, rich) can hang.
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                for line in pool.map(_make, *zip(*jobs, strict=True), chunksize=4):
                    done += 1
                    yield line
        except BrokenProcessPool:
            # The caller's script can't be imported by a spawned process: go on in this one.
            pass
    for job in jobs[done:]:
        yield _make(*job)


def _kept(folder: Path, n: int, task: str) -> list[str]:
    """Lines of an earlier, perhaps interrupted, call whose files are all there: the longest such prefix."""
    lines: list[str] = []
    for file in (folder / "truth.jsonl", folder / "truth.jsonl.part"):
        if file.exists():
            text = file.read_text()
            found = text[: text.rfind("\n") + 1].splitlines()
            lines = max(lines, found, key=len)
    for i in range(min(n, len(lines))):
        image, mask = folder / "images" / f"{i:05d}.jpg", folder / "masks" / f"{i:05d}.png"
        if not image.exists() or (task == "segmentation" and not mask.exists()):
            return lines[:i]
    return lines[:n]


def write_dataset(
    folder: Path,
    n: int,
    seed: int,
    size: tuple[int, int] = (320, 240),
    task: str = "bbox",
    progress: Progress = quiet,
    workers: int | None = None,
) -> None:
    """Write ``n`` pictures to ``folder/images`` and their truth to ``folder/truth.jsonl``.

    A line of the truth is ``{"name": "00000.jpg", "payload": {...}}``. The payload is a label of the
    task: ``bbox`` boxes of one category ``bird``; ``classification`` the species of the only bird;
    ``segmentation`` names the index PNG (0 background, 1 bird) in ``folder/masks``.
    Made again after an interruption, it goes on where it was; the result is the same.

    Args:
        folder: Where to write; made if it is missing.
        n: How many pictures.
        seed: Of the series.
        size: (width, height) in pixels.
        task: One of ``TASKS``.
        progress: Called as (``"images"``, done, n).
        workers: Processes; None takes two where there are two cores and enough to do.

    Raises:
        UsageError: Unknown task, or the folder holds another data set.
    """
    if task not in TASKS:
        raise UsageError(f"no demo pictures for task {task!r}; choose one of {', '.join(TASKS)}")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if task == "segmentation":
        (folder / "masks").mkdir(exist_ok=True)
    about = {"version": VERSION, "seed": seed, "size": list(size), "task": task, "species": list(SPECIES)}
    sign = folder / "dataset.json"
    if sign.exists() and json.loads(sign.read_text()) != about:
        raise UsageError(f"{folder} holds another demo data set (see {sign.name}); choose another folder or delete it")
    write_bytes(sign, json.dumps(about).encode())
    lines = _kept(folder, n, task)
    jobs = [(str(folder), seed, i, size, task) for i in range(len(lines), n)]
    if workers is None:
        workers = 2 if len(jobs) >= 60 and (os.cpu_count() or 1) > 1 else 1
    part = folder / "truth.jsonl.part"
    write_bytes(part, "".join(line + "\n" for line in lines).encode())
    progress("images", len(lines), n)
    with part.open("a") as out:
        for done, line in enumerate(_lines(jobs, workers), len(lines) + 1):
            out.write(line + "\n")
            out.flush()
            progress("images", done, n)
    os.replace(part, folder / "truth.jsonl")
