"""What ``gtloop status`` says: counts, money, the promise, iterations; and the one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gtloop import accounts
from gtloop.evidence import Promise
from gtloop.facts import Facts
from gtloop.money import usd
from gtloop.settings import Settings
from gtloop.state import ALIAS, ASKED, HUMAN, LATER, MACHINE, POOL, QUARANTINED, RELABEL, UNLABELABLE, State
from gtloop.stopping import before_look
from gtloop.wording import counted


def status(run: str, state: State, settings: Settings, promise: Promise, *, driven: bool = True) -> dict[str, Any]:
    """The JSON of ``gtloop status RUN --json`` (design section 4); ``driven``: whether a process drives the run now."""
    f, r, to_label = state.facts, settings.run, labelable(state) - state.imported()
    found: dict[str, Any] = {
        "run": run,
        "task": r.task,
        "annotator": r.annotator,
        "detector": r.detector,
        "sampler": r.sampler,
        "preset": r.preset,
        "state": run_state(state),
        "driven": driven,
        "reopened": bool(f.finishes) and not f.finished,
        "items": items(state),
        "provisional": provisional(state),
        "imported": state.imported(),
        "stage": state.facts.stage.number,
        "annotations": f.annotations,
        "cost_usd": accounts.costs(state, settings, to_label),
        "hours": accounts.hours(state, settings, to_label),
        "wage_usd_hour": accounts.wage(state),
        "lacking": _lacking(state, settings),
        "saving": None,
        "saving_items": _saving_items(state),
        "promise": promised(state, promise),
        "crew": _crew(state),
        "review": _seen(state.facts.reviewed),
        "asked": {policy: _asked(state, policy) for policy in ("fixed", "adaptive")},
        "proposals": _seen(state.facts.proposed),
        "iterations": iterations(state),
    }
    cost = found["cost_usd"]
    if cost["if_all_human"]:
        # more is paid than all by people would cost where the policy of now is cheaper than the one before
        found["saving"] = max(0.0, round(1 - cost["total"] / cost["if_all_human"], 6))
    found["summary"] = sentence(found, why(state))
    if f.paused == "budget" and (lacking := before_look(state, settings)):
        found["summary"] += f"; {lacking}"
    return found


def _lacking(state: State, settings: Settings) -> dict[str, Any]:
    """What a budget lacks for the next look to come; no dollars where there is nothing."""
    found = before_look(state, settings)
    if found is None:
        return {"usd": 0.0, "budget_usd": None, "look": None, "labels": None}
    return {"usd": usd(found.more), "budget_usd": usd(found.budget), "look": found.look, "labels": found.labels}


def run_state(state: State) -> str:
    """``finished``, ``cancelled``, ``waiting`` for people, ``paused: `` with a reason (``RunPaused``), ``running``."""
    f = state.facts
    if f.cancelled:
        return "cancelled"
    if f.finished:
        return "finished"
    if f.paused:
        return f"paused: {f.paused}"
    return "waiting" if f.open else "running"


def items(state: State) -> dict[str, int]:
    """Counts by status; all but ``total`` sum to ``total``. Items that wait, or that people have now, count as pool."""
    return {
        "total": len(state.status),
        "human": state.count(HUMAN),
        "machine": state.count(MACHINE),
        "pool": sum(map(state.count, (POOL, ASKED, RELABEL, LATER))),
        "quarantined": state.count(QUARANTINED),
        "unlabelable": state.count(UNLABELABLE),
        "aliases": state.count(ALIAS),
    }


def provisional(state: State) -> int:
    """Items of the pool that the latest model has labelled, without a certificate yet."""
    model = state.facts.model
    return state.count(POOL) if model is not None and model.predicted is not None else 0


def labelable(state: State) -> int:
    """Items that somebody has to label: no aliases, no unreadable ones."""
    return len(state.status) - state.count(ALIAS) - state.count(QUARANTINED)


def _saving_items(state: State) -> float:
    return round(state.count(MACHINE) / max(1, labelable(state)), 6)


def promised(state: State, promise: Promise) -> dict[str, Any]:
    """The promise: what is certified (a bound), estimated (plug-in) and measured (after an audit)."""
    f = state.facts
    passed = [c for c in f.certificates if c.threshold is not None and f"{c.look}:{c.slice}" not in f.demoted]
    machine = sum(c.labels for c in passed)

    unproven = state.unproven()

    def mean(values: list[float | None]) -> float | None:
        if not machine or f.voided or any(v is None for v in values):
            return None
        return sum(v * c.labels for v, c in zip(values, passed, strict=True) if v is not None) / machine

    return {
        "kind": promise.kind,
        "metric": promise.metric,
        "target": promise.target if promise.kind == "selective" else None,
        "max_loss": promise.max_loss,
        "delta": promise.delta,
        "delta_spent": round(f.delta_spent, 6),
        "rule": promise.rule,
        "exact": all(c.exact for c in passed) and promise.rule == "exact",
        "certified": None if unproven else mean([c.bound for c in passed]),
        "estimated": None if unproven else mean([c.estimate for c in passed]),
        "unproven": unproven,
        "certified_rest": mean([c.bound for c in passed]) if unproven else None,
        "measured": _measured(state, promise),
        "audit": _audit(state, promise.delta),
        "supported": None if f.consistency is None else f.consistency.supported,
        "warning": "" if f.consistency is None else f.consistency.warning,
        "drift": f.drift,
        "looks": f.looks,
        "why": f.voided or "; ".join(f.demoted.values()) or why(state),
        "certificates": [c.model_dump() | {"void": f.demoted.get(f"{c.look}:{c.slice}", "")} for c in f.certificates],
    }


def _measured(state: State, promise: Promise) -> float | None:
    """What audits measured, of the same kind as what is certified; regions that nobody audited count as the others."""
    found = [r for r in state.facts.audited if r.mean is not None]
    if not found:
        return None
    mean = sum(r.labels * (r.mean or 0.0) for r in found) / sum(r.labels for r in found)
    if promise.kind == "selective":
        return mean
    return 1 - (1 - mean) * sum(r.labels for r in state.facts.audited) / max(1, labelable(state))


def _audit(state: State, delta: float) -> dict[str, Any] | None:
    """What audits have found, region by region; None where there was none."""
    f = state.facts
    if not f.audits:
        return None
    regions = []
    for r in f.audited:
        demoted = f"{r.look}:{r.slice}" in f.demoted
        left: dict[str, Any] = {"remaining_lower": None, "approximate": None} if demoted else {}
        regions.append(r.model_dump(mode="json") | left | {"demoted": demoted})
    looked_into = sum(r.audited > 0 for r in f.audited)  # the bounds of the others are 0 and 1
    return {
        "audited": sum(r.audited for r in f.audited),
        "sure": max(0.0, round(1 - looked_into * delta, 6)),
        "regions": regions,
    }


def why(state: State) -> str:
    """Why there are no machine labels, or no more of them."""
    f = state.facts
    if f.finished and not f.cancelled and not f.looks:
        return "no machine labels, because people had labelled all images before a look was due"
    if f.machine_files and not state.count(MACHINE):
        return "; ".join(f.demoted.values()) or "people have checked or replaced every machine label"
    return f.why


def _crew(state: State) -> dict[str, Any]:
    """Who works, as far as they are counted (``people.gold``, ``people.most_answers``), and who is out, and why."""
    people = state.facts.people
    tested = [p for p in people.values() if p.gold]
    return {
        "counted": len(people),
        "tests": sum(p.gold for p in tested),
        "quality": sum(p.quality for p in tested) / sum(p.gold for p in tested) if tested else None,
        "out": {worker: p.out for worker, p in people.items() if p.out},
        "rejected": len(state.facts.rejected),
    }


def _asked(state: State, policy: str) -> dict[str, Any]:
    """Items that people were asked about by a policy, and the mean of the answers to each."""
    tally = state.facts.asked.get(policy, Facts.Tally())
    return {"items": tally.requests, "answers": tally.answers / tally.requests if tally.requests else None}


def _seen(totals: Mapping[str, Facts.Reviewed]) -> dict[str, Any]:
    """What people said of labels, by mode; ``distance``: mean error between the label that there was and theirs.

    That of ``adjust`` against that of ``draw``, the blind share, tells how far people are led by what they see.
    """
    return {
        mode: {
            **{name: getattr(r, name) for name in ("requests", "kept", "changed", "wrong", "unsure")},
            "distance": None if mode == "verify" else r.distance / max(1, r.requests - r.unsure),
            "seconds": r.seconds / (r.answers or r.requests),
        }
        for mode, r in totals.items()
    }


def iterations(state: State) -> list[dict[str, Any]]:
    """What each cost, and its labels that stand: one whose place another has taken counts where that was given."""
    at, objects = state.columns["iteration"], state.columns["objects"]
    masks = {"human": state.status == HUMAN, "machine": state.status == MACHINE}
    size = max((*state.facts.rounds, int(at.max(initial=0)))) + 1
    images = {name: np.bincount(at[of], minlength=size) for name, of in masks.items()}
    shown = {name: np.bincount(at[of], objects[of], size).astype(int) for name, of in masks.items()}
    return [
        _iteration(n, state, *({name: int(by[n]) for name, by in counts.items()} for counts in (images, shown)))
        for n in range(1, size)
        if n in state.facts.rounds or images["human"][n] or images["machine"][n]
    ]


def _iteration(n: int, state: State, images: dict[str, int], objects: dict[str, int]) -> dict[str, Any]:
    r = state.facts.rounds.get(n) or Facts.Round()
    return {
        "n": n,
        "phase": state.facts.batches[n].phase if n in state.facts.batches else "machine",
        **images,
        "threshold": r.threshold,
        "certified": r.certified,
        "coverage": r.coverage,
        "cost_usd": usd(r.cost),
        "machine_usd": usd(r.machine_cost),
        "seconds": r.seconds,
        "objects": objects,
    }


def sentence(found: dict[str, Any], why: str) -> str:
    """One line: who labelled how much, what it cost and saved, and why no more."""
    n, p = found["items"], found["promise"]
    text = f"{counted(n['human'], 'image')} labelled by people, {n['machine']} by machine"
    before = [f"{found['imported']} of the people's labels were there before"] if found["imported"] else []
    words = {k: f"{n[k]} {k}" for k in ("quarantined", "unlabelable")}
    words |= {"pool": f"{n['pool']} left", "aliases": counted(n["aliases"], "alias")}
    if noted := before + [words[k] for k in ("pool", "quarantined", "unlabelable", "aliases") if n[k]]:
        text += f" ({', '.join(noted)})"
    if found["state"] == "waiting" and found["annotations"]:
        text += f"; {counted(found['annotations'], 'answer')} so far"
    text += accounts.sentence(found)
    if p["certified"] is not None and n["machine"]:
        quality = "1 - mean loss" if p["kind"] == "dataset" else f"{p['metric']} of machine labels"
        how = "" if p["exact"] else ", approximate" if p["rule"] == "ttest" else ", cross-fitted"
        text += f"; {quality} certified at least {p['certified']:.3f} (delta {p['delta']:g}{how})"
    elif n["machine"] and p["estimated"] is not None:
        text += f"; {p['metric']} of machine labels estimated {p['estimated']:.3f}, not certified"
    if p["unproven"]:
        text += f"; nothing certifies {p['unproven']} of the machine labels, which another service made"
        rest = p["certified_rest"]
        text += f", and at least {rest:.3f} is certified of the others" if rest is not None else ""
    if p["measured"] is not None:
        text += f"; measured {p['measured']:.3f} by an audit of {p['audit']['audited']}"
    return text + (f"; {why}" if why and not n["machine"] else "")
