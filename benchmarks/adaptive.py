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

For boxes, policies are also run with a model's vote (``Task.assist``), of simulated detectors: ``good`` (image mIoU at
the best cut about .7) and ``fair`` (about .5). An object has an ease, normal, lower for small objects; below 0 it is
missed, and the easier it is, the higher the score (over-confident: most that is found scores above .9, and so do one in
eight boxes of nothing) and the nearer the box. Errors of boxes (dx / w, dy / h, and ratios of width and height) have a
t distribution of 4 degrees of freedom, and a bias of the model. Poisson boxes of nothing, a twelfth of the boxes twice,
wrong names. Five people without a model are what all are measured against. Detectors that go wrong (``--wrong``):

- ``blind``: good, but never sees a cat;
- ``learner``: good, but sees of each category only the share that the labels so far have, which its votes helped to
  make, and at first two thirds of the cats;
- ``echo``: half of its boxes of nothing are of the one place of an image, and sure; people see nothing there;
- ``chance``: the prediction of another image.

Quality is the task's, against the truth (image mIoU, accuracy, mIoU); for boxes also the IoU of found objects. Answers
are the mean of an image. "less" is the quality that the policy is short of five, with its standard error over seeds;
"at three" is the same where the mean number of answers is three, by interpolation between thresholds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import consolidate_boxes as boxes
import consolidate_masks
import numpy as np

from gtloop import masks
from gtloop.interfaces import Context, Hint, Task
from gtloop.labels import RawBoxes, clip_box, iou_matrix
from gtloop.records import Answer, Payload, Raw
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


class Detector(NamedTuple):
    """A simulated model of boxes; see the top of this file."""

    name: str
    ease: float
    """Mean of the objects' ease, of standard deviation 1.2."""
    spread: float
    """Of the errors of its boxes, at ease 1."""
    nothing: float
    """Boxes of nothing an image."""
    wrong: float
    """Probability of a wrong category, at ease 1."""


GOOD, FAIR = Detector("good", 2.0, 0.05, 0.5, 0.1), Detector("fair", 1.1, 0.07, 0.8, 0.15)
DETECTORS = {d.name: d for d in (GOOD, FAIR, *(GOOD._replace(name=n) for n in ("blind", "learner", "echo", "chance")))}


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


# ------------------------------------------------------------------------------------------- detectors


class Model:
    """One detector on the images of one seed; what it sees may depend on the labels so far."""

    def __init__(self, of: Detector, images: Sequence[Image], seed: int) -> None:
        self.of, self.images, self.seed = of, images, seed
        self.bias = np.random.default_rng([seed, 77]).uniform(-0.03, 0.03, 4)
        self.one = {b["category"] for i in images for b in i.truth["boxes"]} == {boxes.NAMES[0]}

    def raws(self, rows: Sequence[int], labels: Sequence[Payload | None]) -> list[Raw]:
        seen = dict.fromkeys(boxes.NAMES, 1.0)
        if self.of.name == "blind":
            seen["cat"] = 0.0
        elif self.of.name == "learner":
            seen = recalls(labels, self.images) if labels else {**seen, "cat": 2 / 3}
        elif self.of.name == "chance":
            rows = [(row + 1) % len(self.images) for row in rows]
        return [self._raw(self.images[row].truth, seen, np.random.default_rng([self.seed, 78, row])) for row in rows]

    def _raw(self, truth: Payload, seen: Mapping[str, float], rng: np.random.Generator) -> Raw:
        found: list[tuple[float, list[float], int]] = []
        for true in truth["boxes"]:
            x1, y1, x2, y2 = true["xyxy"]
            small = (x2 - x1) * (y2 - y1) < 0.02 * boxes.WIDTH * boxes.HEIGHT
            ease = rng.normal(self.of.ease - 0.7 * small, 1.2)
            known = rng.random() < seen[true["category"]]
            if ease < 0 or not known:
                continue
            name = boxes.NAMES.index(true["category"])
            if not self.one and rng.random() < self.of.wrong * np.exp(-0.3 * (ease - 1)):
                name = (name + 1) % len(boxes.NAMES)
            score = _logistic(2.2 * ease - 1.5 + 0.7 * rng.normal())
            error = self.bias + self.of.spread * np.exp(-0.25 * (ease - 1)) * rng.standard_t(4, 4)
            found.append((score, _moved(true["xyxy"], error), name))
            if rng.random() < 1 / 12:
                again = _moved(true["xyxy"], error + rng.normal(0, 0.2, 4))
                found.append((score * rng.uniform(0.1, 0.6), again, name))
        for _ in range(rng.poisson(self.of.nothing)):
            size = rng.uniform(40, 220, 2)
            corner = rng.uniform(0, 1, 2) * ([boxes.WIDTH, boxes.HEIGHT] - size)
            score = _logistic(rng.normal(-1.3, 1.8))
            if self.of.name == "echo" and rng.random() < 0.5:
                size, corner, score = np.array([120.0, 90.0]), np.array([20.0, 20.0]), 0.97
            found.append((score, [*corner, *(corner + size)], int(rng.integers(1 if self.one else len(boxes.NAMES)))))
        clipped = [(s, clip_box(xyxy, boxes.WIDTH, boxes.HEIGHT), c) for s, xyxy, c in sorted(found, reverse=True)]
        kept = [(float(s), xyxy, c) for s, xyxy, c in clipped if xyxy is not None]
        scores, xyxys, names = zip(*kept, strict=True) if kept else ((), (), ())
        return RawBoxes(xyxy=xyxys, scores=scores, categories=names).model_dump(mode="json")


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _moved(xyxy: Sequence[float], error: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = xyxy
    size = np.array([x2 - x1, y2 - y1])
    centre, half = np.array([x1 + x2, y1 + y2]) / 2 + error[:2] * size, size * np.clip(1 + error[2:], 0.3, 2) / 2
    return [*(centre - half).tolist(), *(centre + half).tolist()]


def recalls(labels: Sequence[Payload | None], images: Sequence[Image]) -> dict[str, float]:
    """Category to the share of its true objects that the labels have, with that name and an IoU of .5."""
    hits, objects = dict.fromkeys(boxes.NAMES, 0), dict.fromkeys(boxes.NAMES, 0)
    for label, image in zip(labels, images, strict=False):
        made, true = (label or {"boxes": []})["boxes"], image.truth["boxes"]
        iou = iou_matrix(_xyxy(label), _xyxy(image.truth))
        same = np.array([[m["category"] == t["category"] for t in true] for m in made], bool).reshape(iou.shape)
        for t, hit in zip(true, ((iou >= 0.5) & same).any(axis=0).tolist(), strict=True):
            hits[t["category"]] += hit
            objects[t["category"]] += 1
    return {n: hits[n] / max(1, objects[n]) for n in boxes.NAMES}


def best_cut(task: Task, raws: Sequence[Raw], images: Sequence[Image]) -> float:
    """Image mIoU of predictions at the best of three cuts."""
    return max(quality(task, [task.label(raw, cut) for raw in raws], images) for cut in (0.3, 0.5, 0.7))


# -------------------------------------------------------------------------------------------- policies


def asked(
    task: Task, known: Sequence[Image], images: Sequence[Image], policy: Policy, batch: int, model: Model | None = None
) -> tuple[list[Payload | None], float]:
    """A label of each of ``images``, and the mean number of answers to them."""
    skills = task.skills([image.answers for image in known], {})
    labels: list[Payload | None] = []
    total = 0
    for start in range(0, len(images), batch):
        rows = range(start, min(start + batch, len(images)))
        hints = [Hint()] * len(rows) if model is None else [Hint(raw=raw) for raw in model.raws(rows, labels)]
        given = []
        for row, hint in zip(rows, hints, strict=True):
            answers, n = images[row].answers, policy.first
            while n < policy.most and task.sure(answers[:n], skills, hint, policy.most - n) < policy.sure:
                n += 1
            given.append(answers[:n])
        skills = task.skills(given, skills, hints)
        labels += [
            (task.consolidate(a, skills) if h.raw is None else task.assist(a, skills, h.raw)).payload
            for a, h in zip(given, hints, strict=True)
        ]
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


def at_three(answers: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """(seeds,) of (policies, seeds): between the policies on either side of three answers, else of the nearest."""
    order = np.argsort(answers.mean(axis=1))
    pairs = zip(answers[order].T, quality[order].T, strict=True)
    return np.array([np.interp(3.0, np.maximum.accumulate(n), q) for n, q in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--known", type=int, default=100)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--sure", default="0.95,0.97,0.98", help="thresholds")
    parser.add_argument("--scenes", default="", help="only those whose name holds this")
    parser.add_argument("--models", default="good,fair", help="detectors that vote on boxes")
    parser.add_argument("--wrong", action="store_true", help="detectors that go wrong, on boxes of three categories")
    a = parser.parse_args()
    if a.wrong:
        a.scenes, a.models = a.scenes or "boxes, b = 0.1", "good,blind,learner,echo,chance"
    adaptive = [Policy(2, MOST, float(s)) for s in a.sure.split(",")]
    fixed = [Policy(n, n) for n in (2, 3, 5)]
    print("| scene | model | answers asked for | answers | quality | less than 5 | IoU | cats |", flush=True)
    print("|---|---|---|--:|--:|--:|--:|--:|", flush=True)
    for scene in scenes():
        if a.scenes not in scene.name or (a.wrong and scene.name != a.scenes):
            continue
        few = 3 if scene.name.startswith("masks") else 1  # masks take longer
        drawn = [scene.draw(seed, (a.known + a.images) // few) for seed in range(a.first_seed, a.first_seed + a.seeds)]
        five = np.zeros(a.seeds)
        for name in ["", *(n for n in a.models.split(",") if n and scene.task is boxes.TASK)]:
            policies = [*fixed, *adaptive]
            rows, cuts = np.zeros((len(policies), a.seeds, 4)), np.zeros(a.seeds)
            for seed, world in enumerate(drawn):
                known, images = world[: a.known // few], world[a.known // few :]
                model = Model(DETECTORS[name], images, a.first_seed + seed) if name else None
                cuts[seed] = best_cut(scene.task, model.raws(range(len(images)), []), images) if model else 0
                for k, policy in enumerate(policies):
                    labels, answers = asked(scene.task, known, images, policy, a.batch, model)
                    of_boxes = scene.task is boxes.TASK
                    iou = found_iou(labels, images) if of_boxes else np.nan
                    cats = recalls(labels, images)["cat"] if of_boxes else np.nan
                    rows[k, seed] = quality(scene.task, labels, images), answers, iou, cats
            five = five if name else rows[2, :, 0]
            shown = f"{name} ({cuts.mean():.2f})" if name else ""
            for policy, of in zip(policies, rows, strict=True):
                boxed = " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in of[:, 2:].mean(axis=0))
                print(
                    f"| {scene.name} | {shown} | {policy} | {of[:, 1].mean():.2f} | {of[:, 0].mean():.3f} | "
                    f"{_short(five - of[:, 0])} | {boxed} |",
                    flush=True,
                )
            three = at_three(rows[3:, :, 1], rows[3:, :, 0])
            print(f"| {scene.name} | {shown} | at three | 3.00 | {three.mean():.3f} | {_short(five - three)} | | |")


def _short(less: np.ndarray) -> str:
    error = less.std(ddof=1) / np.sqrt(len(less)) if len(less) > 1 else 0.0
    return f"{less.mean():.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
