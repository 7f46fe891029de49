"""As many people as it takes: two where they agree and up to five where they don't, against 2, 3 and 5 everywhere.

    python benchmarks/adaptive.py --seeds 3

Simulated people (``reference/statistics.md`` 5.4) answer ``--images`` images, by batches of ``--batch`` as in a run:
what is known of the workers is learnt from the batches before, by people's answers alone, and no truth. The first
``--known`` are answered by five under every policy, as a run's random labels are, and are not counted. Every policy
gets the same people in the same order. A policy is a fixed number, or ``adaptive``: 2 at first, one more while
``Task.sure`` is below the threshold, up to 5. Scenes:

- ``boxes``: images of 1 to 4 objects of three categories, people with errors of size b, Beta(2, 18) misses, Poisson(.1)
  boxes of nothing, 15 % wrong categories (``benchmarks/consolidate_boxes.py``), or one category only;
- ``boxes, bad``: the same, and one of each image's five people is off by .35 of a width and height, spread .3;
- ``crowd``: people as the task draws them: experts, crowd, poor and 6 % spammers;
- ``classes``: 10 or 2 categories, the crowd of the task with a tenth of spammers;
- ``masks``: generated outlines of one or four categories, a tenth of spammers.

Quality is the task's, against the truth (image mIoU, accuracy, mIoU); for boxes also the IoU of found objects. Answers
are the mean of an image. "less" is the quality that the policy is short of five, with its standard error over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import consolidate_boxes as boxes
import consolidate_masks
import numpy as np

from gtloop import masks
from gtloop.interfaces import Context, Hint, Task
from gtloop.labels import iou_matrix
from gtloop.records import Answer, Payload
from gtloop_plugins.tasks.classification import Classification
from gtloop_plugins.tasks.segmentation import Segmentation

MOST = 5


class Image(NamedTuple):
    """The truth, and what five people say, in the order in which they would be asked."""

    truth: Payload
    answers: list[Answer]


class Scene(NamedTuple):
    name: str
    task: Task
    draw: Callable[[int, int], list[Image]]
    """Seed and number of images to these."""


class Policy(NamedTuple):
    first: int
    most: int
    sure: float = 0.0

    def __str__(self) -> str:
        return f"{self.first} to {self.most}, sure {self.sure:g}" if self.sure else str(self.first)


# ----------------------------------------------------------------------------------------------- scenes


def of_boxes(kind: str, b: float, one: bool) -> Callable[[int, int], list[Image]]:
    def draw(seed: int, images: int) -> list[Image]:
        rng = np.random.default_rng([seed, 9])
        world = boxes.world(kind, MOST, b, seed, images, 12)
        if one:
            world = [(_one(truth), [_said(a, _one(a.payload)) for a in said]) for truth, said in world]
        return [Image(truth, [said[k] for k in rng.permutation(MOST).tolist()]) for truth, said in world]

    return draw


def _one(label: Payload | None) -> Payload:
    return {"boxes": [{**box, "category": boxes.NAMES[0]} for box in (label or {"boxes": []})["boxes"]]}


def _said(answer: Answer, payload: Payload) -> Answer:
    return answer.model_copy(update={"payload": payload})


def of_classes(task: Classification) -> Callable[[int, int], list[Image]]:
    names = task.context.categories

    def draw(seed: int, images: int) -> list[Image]:
        order = np.random.default_rng([seed, 4]).permutation(len(names)).tolist()
        mixed = Classification(task.options, Context(categories=tuple(names[k] for k in order)))
        return _asked(
            mixed, [{"category": str(n)} for n in np.random.default_rng([seed, 2]).choice(names, images)], seed
        )

    return draw


def of_masks(task: Segmentation, most: int) -> Callable[[int, int], list[Image]]:
    names = task.context.categories

    def draw(seed: int, images: int) -> list[Image]:
        truths = consolidate_masks.blobs(len(names), most)(np.random.default_rng([seed, 2]), images)
        return _asked(task, [masks.from_map(t, names).model_dump(mode="json", exclude_none=True) for t in truths], seed)

    return draw


def _asked(task: Task, truths: Sequence[Payload], seed: int, crowd: int = 20) -> list[Image]:
    """Five of a crowd say something about each; every tenth person is a spammer."""
    people = [
        {**task.worker(np.random.default_rng([seed, 1, k])), "spammer": k % 10 == 9} for k in range(crowd)
    ]  # whoever they are, the first people asked are the same for all policies
    found = []
    for n, truth in enumerate(truths):
        answers = []
        for k in np.random.default_rng([seed, 3, n]).permutation(crowd)[:MOST].tolist():
            said = task.simulate(truth, people[k], boxes.ITEM, np.random.default_rng([seed, 5, n, k]))
            who = {"id": f"{n}-{k}", "request": str(n), "worker": f"w{k}", "at": ""}
            answers.append(Answer(**who, outcome=said.outcome, payload=said.payload))
        found.append(Image(truth, answers))
    return found


def scenes() -> Iterator[Scene]:
    for kind, name in (("clean", "boxes"), ("bad", "boxes, bad")):
        for b in (0.05, 0.1, 0.2):
            yield Scene(f"{name}, b = {b}, one category", boxes.TASK, of_boxes(kind, b, one=True))
        yield Scene(f"{name}, b = 0.1", boxes.TASK, of_boxes(kind, 0.1, one=False))
    yield Scene("boxes, crowd", boxes.TASK, of_boxes("crowd", 0.0, one=False))
    for k in (10, 2):
        task = Classification(Classification.Options(), Context(categories=tuple(f"c{n}" for n in range(k))))
        yield Scene(f"classes, {k}", task, of_classes(task))
    for k in (1, 4):
        names = tuple(f"c{n}" for n in range(k))
        outlines = Segmentation(Segmentation.Options(), Context(categories=names))
        yield Scene(f"masks, {k}", outlines, of_masks(outlines, 1 if k == 1 else 4))


# -------------------------------------------------------------------------------------------- policies


def asked(
    task: Task, known: Sequence[Image], images: Sequence[Image], policy: Policy, batch: int
) -> tuple[list[Payload | None], float]:
    """A label of each of ``images``, and the mean number of answers to them."""
    skills = task.skills([image.answers for image in known], {})
    labels: list[Payload | None] = []
    total = 0
    for start in range(0, len(images), batch):
        given = []
        for image in images[start : start + batch]:
            n = policy.first
            while n < policy.most and task.sure(image.answers[:n], skills, Hint(), policy.most - n) < policy.sure:
                n += 1
            given.append(image.answers[:n])
        skills = task.skills(given, skills)
        labels += [task.consolidate(answers, skills).payload for answers in given]
        total += sum(map(len, given))
    return labels, total / len(images)


def quality(task: Task, labels: Sequence[Payload | None], images: Sequence[Image]) -> float:
    pairs = [(label or task.empty(), image.truth) for label, image in zip(labels, images, strict=True)]
    return float(np.mean([0.0 if label is None else 1 - task.error(label, truth) for label, truth in pairs]))


def found_iou(labels: Sequence[Payload | None], images: Sequence[Image]) -> float:
    """Mean IoU of the objects that a box was found for (IoU .3 or more), by the best box."""
    best = [
        iou_matrix(_xyxy(label), _xyxy(image.truth)).max(axis=0, initial=0.0)
        for label, image in zip(labels, images, strict=True)
    ]
    every = np.concatenate(best)
    return float(every[every >= boxes.FOUND].mean())


def _xyxy(label: Payload | None) -> np.ndarray:
    rows = [box["xyxy"] for box in (label or {"boxes": []})["boxes"]]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--known", type=int, default=100)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--sure", default="0.95,0.98", help="thresholds")
    parser.add_argument("--scenes", default="", help="only those whose name holds this")
    a = parser.parse_args()
    policies = [Policy(n, n) for n in (2, 3, 5)] + [Policy(2, MOST, float(s)) for s in a.sure.split(",")]
    print("| scene | answers asked for | answers | quality | less than 5 | IoU |", flush=True)
    print("|---|---|--:|--:|--:|--:|", flush=True)
    for scene in scenes():
        if a.scenes not in scene.name:
            continue
        few = 3 if scene.name.startswith("masks") else 1  # masks take longer
        rows = np.zeros((len(policies), a.seeds, 3))
        for seed in range(a.seeds):
            drawn = scene.draw(seed, (a.known + a.images) // few)
            known, images = drawn[: a.known // few], drawn[a.known // few :]
            for k, policy in enumerate(policies):
                labels, answers = asked(scene.task, known, images, policy, a.batch)
                iou = found_iou(labels, images) if scene.task is boxes.TASK else np.nan
                rows[k, seed] = quality(scene.task, labels, images), answers, iou
        for policy, of, five in zip(policies, rows, [rows[2]] * len(rows), strict=True):
            short = five[:, 0] - of[:, 0]
            error = short.std(ddof=1) / np.sqrt(a.seeds) if a.seeds > 1 else 0.0
            found = f"{of[:, 2].mean():.3f}" if scene.task is boxes.TASK else ""
            print(
                f"| {scene.name} | {policy} | {of[:, 1].mean():.2f} | {of[:, 0].mean():.3f} | "
                f"{short.mean():.3f} ± {error:.3f} | {found} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
