"""Categories that several people chose made one: gtloop against crowd-kit, by accuracy and time.

    pip install 'gtloop[bench]'
    python benchmarks/consolidate_classes.py             # accuracy, all populations
    python benchmarks/consolidate_classes.py --speed     # CPU time of 100,000 items x 3 answers
    python benchmarks/consolidate_classes.py --model     # a model as one more voter
    python benchmarks/consolidate_classes.py --reliability

Each seed has its own population: a quarter are right on .95 of the items, 60 % on .85, 15 % on .7 (sd .05), three
quarters of their errors go to one other category, another for each (``statistics.md`` 5.4); spammers choose at random.
How many items a worker answers is log-uniform from 1 to 512, in proportion; with "few labels" everybody answers six on
average. gtloop runs twice: on all items at once, as crowd-kit does, and as in a run, by batches of 200, where each
batch is labelled with what is known by then. Times are CPU time in one process. Like for like is from
arrays of numbers, crowd-kit's in a data frame, to one label for each item. A run of gtloop learns from answers, which
are objects, and labels item by item, with confidence and agreement; that is timed as well. Objects and frame are made
beforehand.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.interfaces import Context, Hint
from gtloop.records import Answer
from gtloop_plugins.tasks.classification import Classification, dawid_skene, people

BATCH = 200
PEERS = ("MajorityVote", "DawidSkene", "OneCoinDawidSkene", "MACE")
FEW = 6
"""Answers of one worker where labels are few; 80 elsewhere, about what workloads of 1 to 512 make."""

Ints = NDArray[np.int64]


class Population(NamedTuple):
    name: str
    items: int
    answers: int
    categories: int
    spammers: float = 0.1
    skew: float = 0.0
    related: float = 0.75
    few: bool = False
    workers: int = 0
    """How many; 0: as many as the workload makes."""


POPULATIONS = (
    Population("10 categories, no spammers", 2000, 3, 10, spammers=0.0),
    *(Population("10 categories", 2000, n, 10) for n in (2, 3, 5)),
    Population("10 categories, skewed", 2000, 3, 10, skew=0.4),
    Population("10 categories, errors go anywhere", 2000, 3, 10, related=0.0),
    *(Population("10 categories, few labels", 400, n, 10, few=True) for n in (2, 3, 5)),
    Population("10 categories, few labels, errors go anywhere", 400, 3, 10, few=True, related=0.0),
    Population("2 categories, no spammers", 2000, 3, 2, spammers=0.0),
    *(Population("2 categories", 2000, n, 2) for n in (2, 3, 5)),
    Population("2 categories, skewed", 2000, 3, 2, skew=0.75),
    *(Population("2 categories, few labels", 400, n, 2, few=True) for n in (2, 3, 5)),
)


class Asked(NamedTuple):
    """(A,) positions of item, worker and category of each answer, sorted by item; (N,) the true category."""

    item: Ints
    worker: Ints
    said: Ints
    truth: Ints


def ask(p: Population, seed: int) -> Asked:
    rng = np.random.default_rng([seed, p.items, p.answers, p.categories])
    crowd = p.workers or max(p.answers + 2, p.items * p.answers // (FEW if p.few else 80))
    load = np.zeros(crowd) if p.few else rng.uniform(0, np.log(512), crowd)
    shares, means = (np.array(v) for v in zip(*people.PROFILES.values(), strict=True))
    accuracy = np.clip(rng.normal(means[rng.choice(len(means), crowd, p=shares)], 0.05), 0, 1)
    spammer = rng.permutation(crowd) < round(p.spammers * crowd)
    frequency = (1 - p.skew) ** np.arange(p.categories)
    truth = rng.choice(p.categories, p.items, p=frequency / frequency.sum())
    # Gumbel's trick: the largest of log weights plus noise are a draw without replacement.
    rows = [-(load + rng.gumbel(size=crowd)) for _ in range(p.items)]
    worker = np.concatenate([np.argpartition(row, p.answers - 1)[: p.answers] for row in rows])
    item = np.repeat(np.arange(p.items), p.answers)
    true, k, n = truth[item], p.categories, len(item)
    wrong = np.where(rng.random(n) < p.related, 1, 1 + rng.integers(0, max(k - 1, 1), n))
    # The next category in an order of this seed, so that a rule for ties that goes by the declared order gains nothing.
    order = rng.permutation(k)
    confused = order[(np.argsort(order)[true] + wrong) % k]
    said = np.where(rng.random(n) < accuracy[worker], true, confused)
    return Asked(item, worker, np.where(spammer[worker], rng.integers(0, k, n), said), truth)


# ------------------------------------------------------------------------------------------ methods


class Made(NamedTuple):
    """(N,) positions of the labels, their confidences, and CPU seconds: of learning, and of everything."""

    labels: Ints
    confidence: NDArray[np.float64]
    learning: float
    seconds: float


def task_of(categories: int) -> Classification:
    return Classification(Classification.Options(), Context(categories=tuple(f"c{n:02d}" for n in range(categories))))


def objects(asked: Asked, task: Classification) -> list[list[Answer]]:
    names = task.context.categories
    given: list[list[Answer]] = [[] for _ in asked.truth]
    for i, w, c in zip(asked.item.tolist(), asked.worker.tolist(), asked.said.tolist(), strict=True):
        fields = {"id": f"{i}-{w}", "request": str(i), "worker": f"w{w}", "at": "t", "outcome": "label"}
        given[i].append(Answer.model_validate({**fields, "payload": {"category": names[c]}}))
    return given


def gtloop(
    task: Classification, given: list[list[Answer]], batch: int, stated: list[list[float]] | None = None
) -> Made:
    """Batch by batch: learn from the answers, then label with what is known so far; ``stated`` is a model's."""
    position = {c: n for n, c in enumerate(task.context.categories)}
    started, learning = time.process_time(), 0.0
    skills: dict[str, Any] = {}
    made = []
    for first in range(0, len(given), batch):
        answers = given[first : first + batch]
        hints = [Hint(raw={"probabilities": p}) for p in stated[first : first + batch]] if stated else []
        begun = time.process_time()
        skills = task.skills(answers, skills, hints)
        learning += time.process_time() - begun
        if hints:
            made += [task.assist(a, skills, h.raw or {}) for a, h in zip(answers, hints, strict=True)]
        else:
            made += [task.consolidate(a, skills) for a in answers]
    seconds = time.process_time() - started
    labels = np.array([-1 if m.payload is None else position[m.payload["category"]] for m in made])
    return Made(labels, np.array([m.confidence for m in made]), learning, seconds)


def crowdkit(name: str, asked: Asked) -> Made:
    """With crowd-kit's defaults."""
    import crowdkit.aggregation
    import pandas as pd

    frame = pd.DataFrame({"task": asked.item, "worker": asked.worker, "label": asked.said})
    kind = getattr(crowdkit.aggregation, name)
    method = kind(random_state=0) if name == "MACE" else kind()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.process_time()
        labels = method.fit_predict(frame)
        seconds = time.process_time() - started
    return Made(labels.reindex(range(len(asked.truth))).to_numpy(), np.ones(len(asked.truth)), 0.0, seconds)


def model(asked: Asked, kind: str, categories: int, seed: int) -> list[list[float]]:
    """Probabilities of a model of some kind, whose errors have nothing to do with those of people."""
    rng = np.random.default_rng([seed, 7])
    n, k = len(asked.truth), categories
    anything = rng.integers(0, k, n)
    # How sure it is, and right as often: .85 on average.
    sure = 1 / k + (1 - 1 / k) * rng.beta(5, 1, n)
    named = np.where(rng.random(n) < sure, asked.truth, (asked.truth + 1 + anything % max(k - 1, 1)) % k)
    if kind == "over-confident":
        sure = np.full(n, 0.999)
    if kind == "chance":
        named, sure = anything, np.full(n, 0.999)
    if kind == "wrong on one":
        named = np.where(asked.truth == 0, 1, named)
        sure = np.where(asked.truth == 0, 0.999, sure)
    if kind == "always wrong":
        named, sure = (asked.truth + 1) % k, np.full(n, 0.999)
    p = np.repeat(((1 - sure) / max(k - 1, 1))[:, None], k, axis=1)
    p[np.arange(n), named] = sure
    return [[float(v) for v in row] for row in p]


# ----------------------------------------------------------------------------------------- measuring


def head(*columns: str) -> None:
    print("| " + " | ".join(columns) + " |")
    print("|---" + "|--:" * (len(columns) - 1) + "|")


def accuracy(seeds: range, peers: Sequence[str], only: str) -> None:
    """Per cent of items right, means over seeds, and how far gtloop is from the best of crowd-kit."""
    head("workers", "answers", *peers, "gtloop, at once", "less the best", "gtloop, by batches", "less the best")
    for p in (p for p in POPULATIONS if p.name.startswith(only)):
        found = []
        for seed in seeds:
            asked, task = ask(p, seed), task_of(p.categories)
            given = objects(asked, task)
            made = [
                *(crowdkit(name, asked) for name in peers),
                gtloop(task, given, p.items),
                gtloop(task, given, BATCH),
            ]
            found.append([100 * float((m.labels == asked.truth).mean()) for m in made])
        *theirs, once, batches = np.mean(found, axis=0).tolist()
        ours = [f"{v:.2f} | {v - max(theirs):+.2f}" for v in (once, batches)]
        row = " | ".join([*(f"{v:.2f}" for v in theirs), *ours])
        print(f"| {p.name} | {p.answers} | {row} |", flush=True)


def speed(items: int) -> None:
    """CPU seconds of one run of each method, in this process; 10 categories, 200 workers."""
    p = Population("speed", items, 3, 10, workers=200)
    asked, task = ask(p, 0), task_of(p.categories)
    arrays(ask(p._replace(items=50), 0), p)  # so that imports are not timed
    made = {"gtloop, arrays to labels": arrays(asked, p)}
    given = objects(asked, task)
    made["gtloop, answers to labels, at once"] = gtloop(task, given, items)
    made["gtloop, answers to labels, by batches"] = gtloop(task, given, BATCH)
    del given
    made |= {name: crowdkit(name, asked) for name in PEERS}
    best = made["gtloop, arrays to labels"].seconds
    head("method", "CPU s", "of them learning", "against gtloop on arrays", "accuracy, %")
    for name, m in made.items():
        learning = f"{m.learning:.2f}" if m.learning else ""
        right = 100 * float((m.labels == asked.truth).mean())
        print(f"| {name} | {m.seconds:.2f} | {learning} | {m.seconds / best:.1f}x | {right:.2f} |")


def arrays(asked: Asked, p: Population) -> Made:
    """gtloop's arithmetic on the same numbers that crowd-kit gets; of the posterior the most probable class."""
    crowd, k, n = int(asked.worker.max()) + 1, p.categories, len(asked.truth)
    nothing = dawid_skene.Sums(np.zeros(crowd), np.zeros(crowd), np.zeros(k), np.zeros((k, k)))
    started = time.process_time()
    votes = dawid_skene.Votes(asked.item, asked.worker, asked.said, n)
    _, posterior = dawid_skene.fit(votes, nothing, np.full(n, -1))
    labels = posterior.argmax(axis=1)
    return Made(labels, posterior.max(axis=1), 0.0, time.process_time() - started)


def models(seeds: range) -> None:
    """Per cent right with a model as one more voter, by batches, against the majority."""
    kinds = ("good", "over-confident", "wrong on one", "chance", "always wrong")
    head("workers", "answers", "majority", "gtloop, people only", *(f"with a model: {kind}" for kind in kinds))
    for p in POPULATIONS:
        found = []
        for seed in seeds:
            asked, task = ask(p, seed), task_of(p.categories)
            given = objects(asked, task)
            made = [gtloop(task, given, BATCH)]
            made += [gtloop(task, given, BATCH, model(asked, kind, p.categories, seed)) for kind in kinds]
            labels = [majority(asked, p.categories), *(m.labels for m in made)]
            found.append([100 * float((label == asked.truth).mean()) for label in labels])
        row = " | ".join(f"{v:.2f}" for v in np.mean(found, axis=0))
        print(f"| {p.name} | {p.answers} | {row} |", flush=True)


def majority(asked: Asked, categories: int) -> Ints:
    votes = np.zeros((len(asked.truth), categories))
    np.add.at(votes, (asked.item, asked.said), 1)
    return votes.argmax(axis=1)


def reliability(seeds: range) -> None:
    """How often labels of a confidence are right, all populations and seeds together, by batches."""
    sure: dict[str, list[NDArray[Any]]] = {"people": [], "people and a model": []}
    right: dict[str, list[NDArray[Any]]] = {"people": [], "people and a model": []}
    for p in POPULATIONS:
        for seed in seeds:
            asked, task = ask(p, seed), task_of(p.categories)
            given = objects(asked, task)
            for name, stated in (("people", None), ("people and a model", model(asked, "good", p.categories, seed))):
                made = gtloop(task, given, BATCH, stated)
                sure[name].append(made.confidence)
                right[name].append(made.labels == asked.truth)
    edges = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0 + 1e-9)
    head("who votes", "confidence", "labels", "mean confidence", "right")
    for name in sure:
        c, r = np.concatenate(sure[name]), np.concatenate(right[name])
        for low, high in pairwise(edges):
            some = (c >= low) & (c < high)
            if some.any():
                found = f"{some.sum()} | {c[some].mean():.3f} | {r[some].mean():.3f}"
                print(f"| {name} | {low:g} to {min(high, 1):g} | {found} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--fast", action="store_true", help="without MACE, which takes most of the time")
    parser.add_argument("--only", default="", help="accuracy of the populations whose name starts like that")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--speed", type=int, nargs="?", const=100_000, metavar="ITEMS", help="time that many items")
    what.add_argument("--model", action="store_true", help="a model as one more voter")
    what.add_argument("--reliability", action="store_true", help="whether confidences are right")
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    if args.model:
        return models(seeds)
    if args.reliability:
        return reliability(seeds)
    try:
        import crowdkit.aggregation  # noqa: F401
    except ImportError:
        raise SystemExit("crowd-kit is not installed; pip install 'gtloop[bench]'") from None
    return speed(args.speed) if args.speed else accuracy(seeds, PEERS[:-1] if args.fast else PEERS, args.only)


if __name__ == "__main__":
    main()
