"""Which boxes of several people are of one object; and who drew one box around two objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop.labels import FloatArray, iou_matrix

MIN_IOU = 0.2
"""Least IoU at which two people's boxes may be of one object: careless people (b = .2) often agree no better."""

SAME_NAME = 0.2
"""What two boxes of one category may lack in IoU and still be linked before two of different categories."""

INSIDE = 0.75
"""Least share of an object's area that lies in a box drawn around it and others."""

AROUND = 0.6
"""Least IoU of a box around several objects with the hull of them."""

FILLED = 0.6
"""Least share of a box that the objects which it is drawn around fill, if none of them has its category."""

ALIKE = 0.5
"""Least IoU of two boxes around the same objects."""

_PASSES = 4

Ints = NDArray[np.intp]


class Linked(NamedTuple):
    """What each box of several people is of.

    ``groups``: objects as box indices, each sorted, in order of their first index. ``aside``: box that is in no group
    to the positions in ``groups`` of what it stands for: those that its owner drew one box around, or the one that
    most people see where its owner sees several.
    """

    groups: list[list[int]]
    aside: dict[int, tuple[int, ...]]


def objects(boxes: FloatArray, categories: Sequence[str], owners: Sequence[int]) -> Linked:
    """``link`` for what is left after boxes around several objects, or of parts of one, are set aside.

    Whether two near things are one object or two is decided first, by how many people say so, since one box around
    two objects may overlap either by half and would be taken for it. Boxes set aside say that something is there, but
    neither where nor how many.

    Args:
        boxes: (N, 4) ``xyxy``, in an order that does not depend on who answered first.
        categories: (N,) names.
        owners: (N,) who drew each box.
    """
    codes = np.unique(np.asarray(categories, dtype=str), return_inverse=True)[1]
    stands_for = _outvoted(boxes, codes, np.asarray(owners, dtype=np.intp))
    left = [n for n in range(len(boxes)) if n not in stands_for]
    found = link(boxes[left], [categories[n] for n in left], [owners[n] for n in left], MIN_IOU)
    groups = [[left[k] for k in group] for group in found]
    place = {n: g for g, group in enumerate(groups) for n in group}
    aside = {n: tuple(sorted({place[m] for m in others if m in place})) for n, others in stands_for.items()}
    return Linked(groups, aside)


def link(boxes: FloatArray, categories: Sequence[str], owners: Sequence[int], min_iou: float) -> list[list[int]]:
    """Group the boxes of several people into objects, never two boxes of one person in one object.

    Three steps. (1) Each two people's boxes are matched one-to-one for the largest total IoU (Hungarian), so that
    two near objects are told apart by both boxes at once. (2) Groups are joined by falling IoU of a matched pair, then
    of any pair, if they share no person and their boxes overlap by ``min_iou`` on average: a chain in which only
    neighbours overlap does not become one object. (3) Each person's boxes are matched again, to the medians of what
    the others drew, until nothing changes. Boxes of one category have a bonus of .2 throughout; else categories do
    not restrict the groups.

    Args:
        boxes: (N, 4) ``xyxy``, in an order that does not depend on who answered first: it breaks ties.
        categories: (N,) names.
        owners: (N,) who drew each box.
        min_iou: Least IoU of boxes of one object.

    Returns:
        Groups of indices, each sorted, in order of their first index.
    """
    if not len(boxes):
        return []
    who = np.asarray(owners)
    codes = np.unique(np.asarray(categories, dtype=str), return_inverse=True)[1]
    iou = iou_matrix(boxes, boxes)
    near = np.where((iou >= min_iou) & (who[:, None] != who), iou + SAME_NAME * (codes[:, None] == codes), 0.0)
    if not near.any():
        return [[n] for n in range(len(boxes))]
    member = _agglomerate(near, iou, who, min_iou)
    for _ in range(_PASSES if (near[member[:, None] != member] > 0).any() else 0):
        again = _rematch(boxes, codes, who, member, min_iou)
        if np.array_equal(again, member):
            break
        member = again
    return _groups(member)


def _agglomerate(near: FloatArray, iou: FloatArray, who: Ints, min_iou: float) -> Ints:
    i, j = np.nonzero(np.triu(near, k=1))
    matched = _matched(near, who)[i, j]
    order = np.lexsort((j, i, -np.round(near[i, j], 9), ~matched))
    people: list[set[int]] = [{int(w)} for w in who]
    groups = [[n] for n in range(len(who))]
    member = list(range(len(who)))
    for k in order.tolist():
        a, b = sorted((member[i[k]], member[j[k]]))
        if a == b or people[a] & people[b]:
            continue
        if len(groups[a]) + len(groups[b]) > 2 and iou[np.ix_(groups[a], groups[b])].mean() < min_iou:
            continue
        groups[a] += groups[b]
        people[a] |= people[b]
        for n in groups[b]:
            member[n] = a
    return np.array(member)


def _matched(near: FloatArray, who: Ints) -> NDArray[np.bool_]:
    """(N, N) whether two boxes are a pair in the matching of their owners' boxes."""
    from scipy.optimize import linear_sum_assignment

    found = np.zeros(near.shape, dtype=bool)
    rows = [np.flatnonzero(who == w) for w in np.unique(who)]
    for a in range(len(rows)):
        for b in range(a + 1, len(rows)):
            block = near[np.ix_(rows[a], rows[b])]
            left, right = linear_sum_assignment(block, maximize=True)
            found[rows[a][left], rows[b][right]] = True
    return found & (near > 0)


def _rematch(boxes: FloatArray, codes: Ints, who: Ints, member: Ints, min_iou: float) -> Ints:
    """Every person's boxes matched to the medians of the groups without that person, one person after the other."""
    from scipy.optimize import linear_sum_assignment

    member = member.copy()
    for w in np.unique(who):
        own = np.flatnonzero(who == w)
        rest = np.flatnonzero(who != w)
        names = np.unique(member[rest])
        if not len(names):
            continue
        sets = [rest[member[rest] == name] for name in names]
        centres = np.array([_median(boxes[s]) for s in sets])
        same = np.array([(codes[own][:, None] == codes[s]).sum(axis=1) / len(s) for s in sets]).T
        iou = iou_matrix(boxes[own], centres)
        score = np.where(iou >= min_iou, iou + SAME_NAME * same, 0.0)
        now = member[own][:, None] == names
        # What is there stays in a tie, or two equal groups would swap members for ever.
        left, right = linear_sum_assignment(np.where(score > 0, score + 1e-9 * now, 0.0), maximize=True)
        free = iter(sorted(set(range(len(who))) - set(names.tolist())))
        joined = dict(zip(left.tolist(), right.tolist(), strict=True))
        for k, n in enumerate(own.tolist()):
            at = joined.get(k)
            member[n] = names[at] if at is not None and score[k, at] > 0 else next(free)
    return member


def _median(rows: FloatArray) -> FloatArray:
    ordered, n = np.sort(rows, axis=0), len(rows)
    return np.asarray((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)


def _groups(member: Ints) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for n, name in enumerate(member.tolist()):
        found.setdefault(name, []).append(n)
    return list(found.values())


def _outvoted(boxes: FloatArray, codes: Ints, who: Ints) -> dict[int, set[int]]:
    """Box on the losing side to the boxes of the winning side, wherever one person drew around what others split."""
    parts = _around(boxes, codes, who)
    if not parts:
        return {}
    iou = iou_matrix(boxes, boxes)
    found: dict[int, set[int]] = {}
    for n, drawn in parts.items():
        alike = [m for m in parts if iou[n, m] >= ALIKE]
        if len({who[m] for m in drawn}) >= len({who[m] for m in alike}):
            found.setdefault(n, set()).update(drawn)
        else:
            for m in drawn:
                found.setdefault(int(m), set()).update(alike)
    return found


def _around(boxes: FloatArray, codes: Ints, who: Ints) -> dict[int, list[int]]:
    """Box to those of other people, two or more of a person, that it is drawn around."""
    inside, area = _inside(boxes), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    found: dict[int, list[int]] = {}
    iou = None
    for n in np.flatnonzero(((inside >= INSIDE) & (who[:, None] != who)).sum(axis=1) >= 2).tolist():
        for other in np.unique(who[who != who[n]]).tolist():
            parts = np.flatnonzero((who == other) & (inside[n] >= INSIDE))
            if len(parts) < 2:
                continue
            # A car with its wheels is no two cars: the parts of another category have to fill the whole.
            alike = (codes[parts] == codes[n]).any() or area[parts].sum() >= FILLED * area[n]
            hull = np.concatenate([boxes[parts, :2].min(axis=0), boxes[parts, 2:].max(axis=0)])
            whole = iou_matrix(boxes[n][None], hull[None])[0, 0]
            if iou is None:
                iou = iou_matrix(boxes, boxes)
            own = np.flatnonzero((who == who[n]) & (np.arange(len(who)) != n))
            nested = len(own) and (iou[np.ix_(own, parts)] >= MIN_IOU).any()
            # Somebody who saw the whole as an object besides its parts drew it, too.
            drew = iou[n, who == other].max()
            if alike and whole >= AROUND and whole > drew and not nested:
                found.setdefault(n, []).extend(parts.tolist())
    return found


def _inside(boxes: FloatArray) -> FloatArray:
    """(N, N) share of the area of box j that lies in box i."""
    size = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2])
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(np.prod(np.clip(size, 0, None), axis=2) / np.where(area > 0, area, 1))
