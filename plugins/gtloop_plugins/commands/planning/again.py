"""A run's looks under other settings, on its own predictions and labels; and on other splits of the same items.

What a look could have done is exploratory: the settings are chosen by somebody who has seen what came out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtloop import config
from gtloop.errors import RunError, UsageError
from gtloop.keyed import rng
from gtloop.recheck import Look, PastLook, past_looks
from gtloop.state import ALIAS, MACHINE, QUARANTINED
from gtloop_plugins.commands.planning.pricing import Pricing, work_of
from gtloop_plugins.commands.planning.wishes import Values, called

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry

ONLY_LOOK = ("prices.", "promise.delta", "promise.kind", "promise.max_loss", "promise.rule", "promise.target")
"""Keys, or beginnings of keys, that change what a look makes of predictions, and nothing before it."""
SCORING = ("run.cut", "run.score", "scores.")

Mask = NDArray[np.bool_]


def only_look(values: Values) -> bool:
    """Whether settings leave the course of a run as it was."""
    return all(key.startswith((*ONLY_LOOK, *SCORING)) for key in values)


def looks_of(run: Run) -> list[PastLook]:
    """The looks that tested something.

    Raises:
        RunError: There is none, or categories were renamed or merged since.
    """
    if run.state.facts.renamed:
        raise RunError(f"{run.root}: categories were renamed or merged after its looks, which can't be taken again")
    found = [past for past in past_looks(run) if past.event.certificates]
    if not found:
        raise RunError(f"{run.root} has no look that tested anything: there is nothing to replay; see: gtloop status")
    return found


class Known(NamedTuple):
    """The items of a look, and what is known of them now: the frame of every split.

    Attributes:
        main: (m,) predicted by the model that labels; the others validate through folds, and always do.
        quality: (m,) of its label against that of people; NaN where people have given none.
        surest: (m,) in the region that the run itself gave to the machine.
        validating: How many of ``main`` validated.
    """

    main: Mask
    quality: NDArray[np.float64]
    surest: Mask
    validating: int


def known_of(look: Look, accepted: Mask) -> Known:
    """What is known of the items of a look, and whether the run's own look ``accepted`` them."""
    evidence = look.gathered.evidence
    main = np.asarray(evidence.exact, bool)
    quality = evidence.quality.copy()
    pool = np.isnan(quality)
    quality[pool] = look.human_quality(look.gathered.rows[pool])
    return Known(main, quality, accepted, int((main & ~pool).sum()))


def redraw(known: Known, look: Look, size: int, split: int) -> NDArray[np.float64]:
    """(m,) qualities of another split: ``size`` items of the model validate, drawn as the run draws them.

    Where the machine labelled, people's labels are those of the items that validated then: as many are drawn of the
    region as a random draw takes from it, but no more than there are.
    """
    chance = rng(look.settings.run.seed, "replay", look.past.event.look, split)
    drawn = np.zeros(len(known.main), bool)
    inside, outside = known.main & known.surest, known.main & ~known.surest
    wanted = int(chance.hypergeometric(int(inside.sum()), int(outside.sum()), min(size, int(known.main.sum()))))
    for stratum, n in ((inside, wanted), (outside, size - wanted)):
        labelled = np.flatnonzero(stratum & ~np.isnan(known.quality))
        drawn[chance.permutation(labelled)[:n]] = True
    return np.where(~known.main | drawn, known.quality, np.nan)


def judged(known: Known, look: Look, accepted: Mask, validating: Mask) -> dict[str, Any]:
    """What people's labels say of accepted pool items, where they are known.

    The share of items with a label is not the same in the region of the run's own machine labels as elsewhere, so the
    mean weighs both by their number; it is None where one of them has no labelled item.
    """
    parts, count = [], 0
    for stratum in (known.surest, ~known.surest):
        inside = accepted & stratum & known.main & ~validating
        q = known.quality[inside & ~np.isnan(known.quality)]
        count += len(q)
        if inside.any():
            parts.append((int(inside.sum()), float(q.mean()) if len(q) else None))
    if not parts or any(mean is None for _, mean in parts):
        return {"quality": None, "known": count, "kept": None}
    machine = sum(n for n, _ in parts)
    mean = sum(n * (m or 0.0) for n, m in parts) / machine
    p = look.promise
    if p.kind == "dataset":
        kept = (1 - mean) * machine <= (p.max_loss or 0.0) * look.past.total + 1e-9
    else:
        kept = mean >= p.target - 1e-9
    return {"quality": mean, "known": count, "kept": bool(kept)}


def replayed(run: Run, registry: Registry, values: Values, splits: int, size: int | None) -> list[dict[str, Any]]:
    """What looks under other settings would have come to: once as it was, or once for each split of the last look.

    Raises:
        UsageError: More items are to validate than people have labelled.
    """
    made = [(past, Look(run, past, registry, values)) for past in looks_of(run)]
    past, look = made[-1]
    own_table = {int(r) for r in run.store.read(past.event.labels, ["row"])["row"]} if past.event.labels else set()
    known, costs = known_of(look, _surest(look, own_table)), Costs.of(run, registry, values)
    if not splits:
        return [_as_it_was(costs, values, made, known)]
    there = int((known.main & ~np.isnan(known.quality)).sum())
    if size is not None and size > there:
        raise UsageError(
            f"--validation {size}: people have labelled {there} images that may validate at the last look, and nobody "
            f"is asked again; give {there} or fewer"
        )
    size = size or (
        known.validating if not np.isnan(known.quality[known.main]).any() else max(1, known.validating // 2)
    )
    return [_on_split(costs, values, look, known, size, split, len(own_table)) for split in range(splits)]


def _surest(look: Look, labelled: set[int]) -> Mask:
    """(m,) where the run's machine labels lie: by score, down to the least of them in each slice."""
    g, e = look.gathered, look.gathered.evidence
    mine = np.isin(g.rows, np.array(sorted(labelled), np.int32)) & np.isnan(e.quality)
    found = np.zeros(len(g.rows), bool)
    for name in np.unique(e.slice):
        of = e.slice == name
        if (mine & of).any():
            found |= of & (e.score >= e.score[mine & of].min())
    return found


def _as_it_was(costs: Costs, values: Values, made: list[tuple[PastLook, Look]], known: Known) -> dict[str, Any]:
    machine: set[int] = set()
    accepted = np.zeros(0, bool)
    for _, look in made:
        accepted = look.certify()
        machine |= set(look.gathered.rows[accepted & np.isnan(look.gathered.evidence.quality)].tolist())
    look = made[-1][1]
    found = judged(known, look, accepted, ~np.isnan(look.gathered.evidence.quality))
    return {
        "settings": dict(values),
        "name": called(values),
        "split": None,
        **costs.figures(len(machine)),
        **found,
    }


def _on_split(
    costs: Costs, values: Values, look: Look, known: Known, size: int, split: int, own: int
) -> dict[str, Any]:
    quality = redraw(known, look, size, split)
    accepted = look.certify(quality, 1 - float(rng(costs.run.settings.run.seed, "split-uniform", split).random()))
    machine = int((accepted & np.isnan(quality)).sum())
    before = costs.run.state.count(MACHINE) - own
    found = judged(known, look, accepted, ~np.isnan(quality))
    costed = costs.figures(before + machine)
    return {"settings": dict(values), "name": called(values), "split": split, **costed, **found}


class Costs(NamedTuple):
    """What a run costs under other prices, where the machine labels other items; answers are those that there were."""

    run: Run
    pricing: Pricing
    total: int
    each: float
    """Answers that an item of the run had on average."""

    @classmethod
    def of(cls, run: Run, registry: Registry, values: Values) -> Costs:
        s = run.state
        total = len(s.status) - s.count(ALIAS) - s.count(QUARANTINED) - s.imported()
        asked = max(1, int((s.columns["attempts"] > 0).sum()))
        prices = config.replaced(run.settings, values).prices
        rates = prices.rates() if any(key.startswith("prices.") for key in values) else s.rates
        work = work_of(run, run.task(registry))
        return cls(run, Pricing.of(prices, rates, work), total, s.facts.annotations / asked)

    def figures(self, machine: int) -> dict[str, Any]:
        """With ``machine`` items labelled by the machine, and the rest by people."""
        human = self.total - machine
        cost = self.pricing.cost_usd(human, machine, human * self.each)
        most = self.pricing.cost_usd(self.total, 0, self.total * self.each)
        return {
            "answers": round(human * self.each),
            "cost_usd": cost,
            "machine_share": machine / max(1, self.total),
            "saving": max(0.0, 1 - cost / most) if most else None,
        }
