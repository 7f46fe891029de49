"""Answers of people made arrays: who drew which boxes, and which of them may be of one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray
from gtloop.records import Answer, Payload
from gtloop_plugins.tasks.bbox.linking import Linked, objects

Ints = NDArray[np.intp]
Drawn = tuple[tuple[float, ...], str]


class Person(NamedTuple):
    """The boxes of one person who could tell, sorted."""

    boxes: tuple[Drawn, ...]
    worker: str


class Image(NamedTuple):
    """People in an order that depends on what they drew first, and the boxes of all, linked to objects."""

    people: tuple[Person, ...]
    boxes: FloatArray
    names: tuple[str, ...]
    owners: tuple[int, ...]
    linked: Linked


class Spots(NamedTuple):
    """All objects that somebody drew in some images, as columns.

    Attributes:
        image: (S,) image of each spot.
        spot: (V,) ascending; one vote for each spot and person of its image, except those whose box was set aside.
        worker: (V,) position in ``workers``.
        box: (V,) row of the box that the person drew there; -1: none.
        xyxy: (M, 4) boxes, by spot.
        name: (M,) position of the category in ``names``.
        of: (M,) spot of each box, ascending.
        owner: (M,) position in ``workers``.
        merged: (A, 2) worker and number of spots that a box set aside was drawn around (1: of a part).
        seen: (I, W) pairs of image and worker, as rows of two columns.
        workers, names: Sorted.
        images: Number of images.
    """

    image: Ints
    spot: Ints
    worker: Ints
    box: Ints
    xyxy: FloatArray
    name: Ints
    of: Ints
    owner: Ints
    merged: Ints
    seen: Ints
    workers: list[str]
    names: list[str]
    images: int


def people(answers: Sequence[Answer]) -> list[Person]:
    """One answer per worker, the last by time, then id; without those who could not tell."""
    last: dict[str, Answer] = {}
    for answer in sorted(answers, key=lambda a: (a.at, a.id)):
        if answer.outcome in ("label", "empty"):
            last[answer.worker] = answer
    return sorted(Person(drawn(a.payload if a.outcome == "label" else None), a.worker) for a in last.values())


def drawn(payload: Payload | None) -> tuple[Drawn, ...]:
    """The boxes of a label, sorted."""
    boxes: Sequence[Any] = (payload or {}).get("boxes", ())
    return tuple(sorted((tuple(float(v) for v in box["xyxy"]), box["category"]) for box in boxes))


def image(given: Sequence[Person]) -> Image:
    """Link the boxes of the people of one image."""
    rows = [(xyxy, name, owner) for owner, person in enumerate(given) for xyxy, name in person.boxes]
    boxes = np.array([xyxy for xyxy, _, _ in rows], dtype=np.float64).reshape(-1, 4)
    names, owners = tuple(name for _, name, _ in rows), tuple(owner for _, _, owner in rows)
    return Image(tuple(given), boxes, names, owners, objects(boxes, names, owners))


def spots(images: Sequence[Image], names: Sequence[str] = ()) -> Spots:
    """Put the objects of several images in columns; ``names`` are further categories that people could have named."""
    workers = sorted({p.worker for i in images for p in i.people})
    known = sorted({*names, *(n for i in images for n in i.names)})
    who, what = {w: k for k, w in enumerate(workers)}, {n: k for k, n in enumerate(known)}
    of_image: list[int] = []
    votes: list[tuple[int, int, int]] = []
    rows: list[tuple[int, int, int]] = []
    xyxy: list[FloatArray] = []
    merged: list[tuple[int, int]] = []
    seen: list[tuple[int, int]] = []
    for k, found in enumerate(images):
        ids = [who[p.worker] for p in found.people]
        seen += [(k, w) for w in ids]
        abstain: dict[int, set[int]] = {}
        for n, of in found.linked.aside.items():
            merged.append((ids[found.owners[n]], len(of)))
            for g in of:
                abstain.setdefault(g, set()).add(found.owners[n])
        for g, group in enumerate(found.linked.groups):
            spot = len(of_image)
            of_image.append(k)
            drew = {found.owners[n]: n for n in group}
            for owner, w in enumerate(ids):
                if owner in drew:
                    votes.append((spot, w, len(rows)))
                    rows.append((what[found.names[drew[owner]]], spot, w))
                    xyxy.append(found.boxes[drew[owner]])
                elif owner not in abstain.get(g, ()):
                    votes.append((spot, w, -1))
    v, m = np.array(votes, np.intp).reshape(-1, 3), np.array(rows, np.intp).reshape(-1, 3)
    return Spots(
        image=np.array(of_image, np.intp),
        spot=v[:, 0],
        worker=v[:, 1],
        box=v[:, 2],
        xyxy=np.array(xyxy, dtype=np.float64).reshape(-1, 4),
        name=m[:, 0],
        of=m[:, 1],
        owner=m[:, 2],
        merged=np.array(merged, np.intp).reshape(-1, 2),
        seen=np.array(seen, np.intp).reshape(-1, 2),
        workers=workers,
        names=known,
        images=len(images),
    )
