"""Masks of several people made one: gtloop against crowd-kit, by quality and time.

    pip install 'gtloop[bench]'
    python benchmarks/consolidate_masks.py --streets FOLDER --seeds 5

FOLDER holds ``masks/*.png``, index masks of the CamVid street scenes (0 to 10, 11 is void); without it only generated
masks are used. Each seed has its own population of ``--people`` simulated workers (``tasks/segmentation/people.py``),
every tenth a spammer; each image is shown to 3 or 5 of them. gtloop learns their skills as in a run, from batches of 12
images, with nothing but their answers. crowd-kit aggregates binary masks of one image at a time and knows nothing of
other images; of several categories it gets one against the rest, one after the other. Where its masks overlap, or leave
a pixel to nobody, the category with the most votes gets the pixel, of equals the first. Simulated people mistake a
category for the next one, so that the first of equals would be right too often: all methods get the categories in an
order of their own, shuffled by the seed.

Quality is the image mean IoU of the task (1 - error), for one category the plain IoU. Times are CPU time of one image,
all methods in the same process: gtloop's from and to run-length codes, crowd-kit's from dense masks in a data frame
that is made beforehand.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop import masks
from gtloop.interfaces import Context
from gtloop.labels import SegmentationLabel
from gtloop.records import Answer, Payload
from gtloop_plugins.tasks.segmentation import Segmentation, people

STREETS = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
BATCH = 12
PEERS = ("SegmentationMajorityVote", "SegmentationEM", "SegmentationRASA")
METHODS = ("one worker", *PEERS, "gtloop, skills unknown", "gtloop")

Index = NDArray[np.int16]


class Scenario(NamedTuple):
    name: str
    categories: tuple[str, ...]
    truths: Callable[[np.random.Generator, int], list[Index]]


class Item(NamedTuple):
    truth: Payload
    answers: list[Answer]


# ------------------------------------------------------------------------------------------- images


def streets(folder: Path, scale: int, only: str | None) -> Callable[[np.random.Generator, int], list[Index]]:
    """Street scenes, or one category of them, every ``scale``-th pixel."""
    from PIL import Image

    files = sorted((folder / "masks").glob("*.png"))

    def read(rng: np.random.Generator, images: int) -> list[Index]:
        found = []
        for n in rng.permutation(len(files)):
            index = np.asarray(Image.open(files[n]))[::scale, ::scale].astype(np.int16)
            index[index == len(STREETS)] = masks.VOID
            if only:
                index = np.where(index == STREETS.index(only), 0, masks.BACKGROUND).astype(np.int16)
            if (index >= 0).any():
                found.append(index)
        return found[:images]

    return read


def blobs(categories: int, most: int) -> Callable[[np.random.Generator, int], list[Index]]:
    """Up to ``most`` turned ellipses with wavy outlines on 240 x 320 pixels."""

    def draw(rng: np.random.Generator, images: int) -> list[Index]:
        found = []
        y, x = np.mgrid[:240, :320]
        for _ in range(images):
            index: Index = np.full(y.shape, masks.BACKGROUND, np.int16)
            for _ in range(int(rng.integers(1, most + 1))):
                dy, dx = y - rng.uniform(40, 200), x - rng.uniform(40, 280)
                turn, wave = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
                across, along = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
                edge = 1 + 0.15 * np.sin(int(rng.integers(2, 6)) * np.arctan2(along, across) + wave)
                a, b = rng.uniform(12, 70, 2)
                index[np.hypot(across / a, along / b) < edge] = rng.integers(categories)
            found.append(index)
        return found

    return draw


# ------------------------------------------------------------------------------------------- people


def ask(scenario: Scenario, images: int, workers: int, crowd: int, seed: int) -> list[Item]:
    """Images with the answers of ``workers`` people each; the first people asked are the same for any number."""
    names = scenario.categories
    population = [people.worker(np.random.default_rng([seed, 1, k])) for k in range(crowd)]
    population = [{**p, "spammer": k % 10 == 9} for k, p in enumerate(population)]
    items = []
    for n, index in enumerate(scenario.truths(np.random.default_rng([seed, 2]), images)):
        truth = masks.from_map(index, names).model_dump(mode="json", exclude_none=True)
        answers = []
        for k in np.random.default_rng([seed, 3, n]).permutation(crowd)[:workers].tolist():
            said = people.simulate(truth, population[k], names, np.random.default_rng([seed, 4, n, k]))
            whole = {"id": f"{n}-{k}", "request": str(n), "worker": f"w{k}", "outcome": "label", "at": "t"}
            answers.append(Answer.model_validate({**whole, "payload": said.payload}))
        items.append(Item(truth, answers))
    return items


# ------------------------------------------------------------------------------------------ methods


class Made(NamedTuple):
    labels: list[Payload]
    seconds: float


def gtloop(task: Segmentation, items: Sequence[Item], learn: bool) -> Made:
    """Batch by batch: learn from the answers, then consolidate them with what is known so far."""
    started = time.process_time()
    skills: dict[str, Any] = {}
    labels = []
    for first in range(0, len(items), BATCH):
        answers = [item.answers for item in items[first : first + BATCH]]
        skills = task.skills(answers, skills) if learn else {}
        labels += [task.consolidate(said, skills).payload or {} for said in answers]
    return Made(labels, time.process_time() - started)


def crowdkit(name: str, names: Sequence[str], items: Sequence[Item]) -> Made:
    """One category against the rest, and void like a category; then one map of them all."""
    import pandas as pd
    from crowdkit import aggregation

    said = [[dense(a.payload or {}, names) for a in item.answers] for item in items]
    values = [*range(len(names)), masks.VOID]
    planes = np.zeros((len(items), len(values)), object)
    seconds = 0.0
    for n, value in enumerate(values):
        rows = [(i, w, index == value) for i, indices in enumerate(said) for w, index in enumerate(indices)]
        if not any(mask.any() for _, _, mask in rows):
            continue
        # Where nobody gave the category there is nothing to decide, and RASA would divide by 0.
        known = {i for i, _, mask in rows if mask.any()}
        frame = pd.DataFrame([r for r in rows if r[0] in known], columns=["task", "worker", "segmentation"])
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = getattr(aggregation, name)().fit_predict(frame)
        seconds += time.process_time() - started
        for i, mask in found.items():
            planes[i, n] = mask
    labels = []
    for row, indices in zip(planes, said, strict=True):
        yes = np.stack([np.broadcast_to(mask, indices[0].shape) for mask in row]).astype(bool)
        labels.append(combined(yes, np.stack(indices), values, names))
    return Made(labels, seconds)


def combined(yes: NDArray[np.bool_], said: Index, values: Sequence[int], names: Sequence[str]) -> Payload:
    """The label of (values, H, W) binary masks, which may overlap."""
    votes = np.stack([(said == value).sum(axis=0) for value in values])
    nothing = (said == masks.BACKGROUND).sum(axis=0)
    chosen = np.array(values)[(votes + 1000 * yes).argmax(axis=0)]
    free = ~yes.any(axis=0) & (nothing >= votes.max(axis=0))
    index = np.where(free, masks.BACKGROUND, chosen).astype(np.int16)
    return masks.from_map(index, names).model_dump(mode="json", exclude_none=True)


def dense(payload: Payload, names: Sequence[str]) -> Index:
    return masks.to_map(SegmentationLabel.model_validate(payload), names)


# ---------------------------------------------------------------------------------------- measuring


def measure(scenario: Scenario, items: Sequence[Item], seed: int) -> dict[str, tuple[float, float]]:
    """Method to (mean quality, seconds an image)."""
    names = tuple(np.random.default_rng([seed, 5]).permutation(scenario.categories).tolist())
    task = Segmentation(Segmentation.Options(), Context(categories=names))
    made = {name: crowdkit(name, names, items) for name in PEERS}
    made["gtloop, skills unknown"] = gtloop(task, items, learn=False)
    made["gtloop"] = gtloop(task, items, learn=True)
    found = {}
    for name, (labels, seconds) in made.items():
        quality = [1 - task.error(label, item.truth) for label, item in zip(labels, items, strict=True)]
        found[name] = (float(np.mean(quality)), seconds / len(items))
    alone = [1 - task.error(a.payload or {}, item.truth) for item in items for a in item.answers]
    return {"one worker": (float(np.mean(alone)), 0.0), **found}


def large(scale: int = 9) -> Scenario:
    """Pictures of 2160 x 2880 pixels."""
    draw = blobs(4, 12)
    grown = np.ones((scale, scale), np.int16)
    return Scenario(
        "generated, 4 categories, 2880 x 2160", tuple("abcd"), lambda rng, n: [np.kron(i, grown) for i in draw(rng, n)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streets", type=Path, help="folder with masks/*.png")
    parser.add_argument("--images", type=int, default=36)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--scale", type=int, default=2, help="take every SCALE-th pixel of the streets")
    parser.add_argument("--large", action="store_true", help="time two pictures of 6 megapixels instead")
    args = parser.parse_args()
    try:
        import crowdkit.aggregation  # noqa: F401
    except ImportError:
        raise SystemExit("crowd-kit is not installed; pip install 'gtloop[bench]'") from None
    scenarios = [
        Scenario("generated, 1 category", ("object",), blobs(1, 3)),
        Scenario("generated, 4 categories", tuple("abcd"), blobs(4, 8)),
    ]
    if args.streets:
        scenarios += [
            Scenario("streets, buildings only", ("building",), streets(args.streets, args.scale, "building")),
            Scenario("streets, 11 categories", STREETS, streets(args.streets, args.scale, None)),
        ]
    images, seeds = (2, 1) if args.large else (args.images, args.seeds)
    print("| masks | answers | what | " + " | ".join(METHODS) + " |")
    print("|---|---|---|" + "--:|" * len(METHODS))
    for scenario in [large()] if args.large else scenarios:
        for workers in (3, 5):
            chosen = range(args.first_seed, args.first_seed + seeds)
            found = [measure(scenario, ask(scenario, images, workers, args.people, seed), seed) for seed in chosen]
            quality, seconds = (np.array([[f[m][k] for m in METHODS] for f in found]) for k in (0, 1))
            spread = quality.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(len(METHODS))
            cells = [
                f"{q:.3f} ± {s:.3f}" if seeds > 1 else f"{q:.3f}" for q, s in zip(quality.mean(0), spread, strict=True)
            ]
            print(f"| {scenario.name} | {workers} | IoU | " + " | ".join(cells) + " |")
            took = ["", *(f"{1000 * s:.0f}" for s in seconds.mean(axis=0)[1:])]
            print(f"| {scenario.name} | {workers} | ms an image | " + " | ".join(took) + " |", flush=True)


if __name__ == "__main__":
    main()
