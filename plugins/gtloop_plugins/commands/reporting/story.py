"""Why an item has the label it has: everything that the ledger knows of it, with its certificate done again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gtloop.errors import RunError, UsageError
from gtloop.events import AnyEvent, FileRef
from gtloop.interfaces import Task
from gtloop.job import make_promise
from gtloop.labelfiles import Matcher
from gtloop.money import usd
from gtloop.people import fitting, read_answers
from gtloop.recheck import PastLook, Rechecked, past_looks, recheck_look
from gtloop.records import Answer, Label, Payload
from gtloop.state import STATUS
from gtloop.wording import counted

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop.registry import Registry

PURPOSES = {
    "train": "to teach the model",
    "validation": "as a blind random sample that machine labels are measured against",
    "control": "as a blind random sample that refills validation",
    "audit": "to check its machine label",
    "gold": "to test people: its label was known",
}
BEGAN = {
    "items-quarantined": "its image can't be read",
    "labels-imported": "a label that was there before the run was taken in",
    "relabel-asked": "somebody wanted people to label it again",
    "review-asked": "somebody wanted people to look at its label",
    "audit-concluded": "people had checked its machine label, blind",
    "region-demoted": "an audit showed that its region breaks the promise: its machine label was withdrawn",
    "answers-extended": "it was seen whether its answers are enough",
    "review-concluded": "people had looked at its label",
    "labels-consolidated": "the answers became one label",
}
"""What an event means for an item that a file of it names."""


class Told(NamedTuple):
    """What explains an item: JSON for ``--json``, and what a picture needs."""

    facts: dict[str, Any]
    label: Label | None
    answers: list[Payload]


def find_item(run: Run, named: str) -> int:
    """Row of an item by its name (as in an export), id or row number.

    Raises:
        UsageError: There is none.
        BadLabels: Several have that name.
    """
    with suppress(ValueError):
        return run.items.id.index(named)
    row = Matcher(run.items.name).row(named)
    if row is None and named.isdecimal() and int(named) < len(run.items):
        row = int(named)
    if row is None:
        raise UsageError(
            f"the run has no image {named}; give a name from: gtloop export {run.root}, an id or a row "
            f"(0 to {len(run.items) - 1})"
        )
    return row


def tell(run: Run, registry: Registry, row: int) -> Told:
    """Explain an item.

    Raises:
        RunError: A certificate that decided about it can't be recomputed, or comes out otherwise.
    """
    task = run.task(registry)
    alias = run.items[row].alias_of
    own = row if alias is None else alias
    label = next((x for x in run.labels(task) if x.row == own), None)
    requests = list(_requests(run, task, own, label))
    looks = list(_looks(run, task, own))
    made = _made(run, own) if label is not None and label.source != "machine" else None
    export = next(r for r in run.rows(task) if r.item.row == row)
    facts: dict[str, Any] = {
        "run": str(run.root),
        "item": {"row": row, "id": run.items.id[row], "name": run.items.name[row]},
        "status": STATUS[run.state.status[own]] if alias is not None else export.status,
        "alias_of": None if alias is None else run.items.name[alias],
        "reason": export.reason,
        "label": None if label is None else label.model_dump(mode="json"),
        "made": made,
        "looks": looks,
        "requests": requests,
        "history": list(_history(run, own, {r["request"] for r in requests})),
    }
    facts["why"] = _why(facts, task.metric)
    answers = [a["payload"] for r in requests for a in r["answers"] if a["used"] and a["payload"] is not None]
    return Told(facts, label, answers)


# ------------------------------------------------------------------------------------------ people


def _requests(run: Run, task: Task, row: int, label: Label | None) -> Iterator[dict[str, Any]]:
    """Why people were asked about a row, and what they said."""
    skill = task.skill(run.skills())
    reasons = {e.event.batch: e.event.reason for e in run.events() if e.event.type == "batch-committed"}
    for number, batch in run.state.facts.batches.items():
        t = run.store.read(batch.requests)
        for at in np.flatnonzero(np.asarray(t["row"]) == row).tolist():
            rid, purpose = t["request"][at], t["purpose"][at]
            given = read_answers(run.store, run.state.facts.answer_files, {rid}).get(rid, [])
            yield {
                "request": rid,
                "iteration": number,
                "phase": batch.phase,
                "purpose": purpose,
                "mode": t["mode"][at] if "mode" in t else "draw",
                "reason": reasons.get(number, ""),
                "wanted": int(t["answers"][at]),
                "open": rid in run.state.facts.open,
                "answers": _answers(run, task, row, given, label, skill),
            }


def _answers(
    run: Run, task: Task, row: int, given: list[Answer], label: Label | None, skill: dict[str, float]
) -> list[dict[str, Any]]:
    unfit: dict[str, str] = {}
    fit = fitting(task, run.items[row], given, run.state.facts.renamed, lambda a, why: unfit.update({a.id: why}))
    canonical = {a.id: a.payload for a in fit}
    found = []
    for a in given:
        note = unfit.get(a.id, "")
        if a.outcome == "declined":
            note = "declined"
        elif a.id in run.state.facts.rejected:
            note = "rejected"
        payload = canonical.get(a.id)
        near = None if payload is None or label is None else 1 - float(task.error(payload, label.payload))
        found.append(
            {
                "worker": a.worker,
                "outcome": a.outcome,
                "payload": payload,
                "seconds": a.active_seconds,
                "paid_usd": usd(a.price + a.fee),
                "at": a.at,
                "used": not note,
                "note": note,
                "quality": near,
                "skill": skill.get(a.worker),
            }
        )
    return found


def _made(run: Run, row: int) -> dict[str, Any] | None:
    """How the answers to a row became its human label: the latest one."""
    found = None
    for ref in run.state.facts.human_files:
        t = run.store.read(ref)
        for at in np.flatnonzero(np.asarray(t["row"]) == row).tolist():
            if t["payload_json"][at] is not None:
                names = ("request", "consolidation", "confidence", "agreement", "workers")
                found = {n: _plain(t[n][at]) if n in t else None for n in names}
    return found


# ------------------------------------------------------------------------------------------- looks


def _looks(run: Run, task: Task, row: int) -> Iterator[dict[str, Any]]:
    """What each look that saw a row found, its certificate done again.

    Raises:
        RunError: It comes out otherwise, or its evidence was changed.
    """
    promise = make_promise(run.settings, task)
    for past in past_looks(run):
        if not past.event.certificates:
            continue
        checked = recheck_look(run, past, promise)
        t = run.store.read(FileRef(path=checked[0].certificate.evidence, rows=0, sha256=checked[0].certificate.sha256))
        labels = past.event.labels
        labelled = labels is not None and bool((np.asarray(run.store.read(labels, ["row"])["row"]) == row).any())
        for at in np.flatnonzero(np.asarray(t["row"]) == row).tolist():
            mine = next((c for c in checked if c.certificate.covers(t["slice"][at])), None)
            refuse_difference(run, [mine] if mine else [])
            yield _look(past, t, at, mine, labelled)


def _look(past: PastLook, t: Any, at: int, mine: Rechecked | None, labelled: bool) -> dict[str, Any]:
    pool = np.isnan(np.asarray(t["quality"], np.float64))
    c = None if mine is None else mine.certificate
    return {
        "look": past.event.look,
        "model": past.event.model,
        "role": "pool" if pool[at] else "validation",
        "slice": None if c is None else c.slice,
        "score": float(t["raw_score"][at]),
        "threshold": None if c is None else c.threshold,
        "accepted": bool(t["accepted"][at]),
        "labelled": labelled,
        "quality": None if pool[at] else float(t["quality"][at]),
        "surer": int(np.count_nonzero(pool & (np.asarray(t["score"]) > t["score"][at]))),
        "pool": int(pool.sum()),
        "certificate": None if c is None else c.model_dump(mode="json"),
        "recomputed": None if mine is None or mine.again is None else {"p": mine.again.p, "bound": mine.again.bound},
        "why": past.event.why,
    }


def refuse_difference(run: Run, checked: list[Rechecked]) -> None:
    """Raises RunError where a certificate comes out otherwise than it stands in the ledger."""
    import gtloop

    for c in checked:
        if c.differs:
            p = None if c.again is None else c.again.p
            made = next(e.event.gtloop for e in run.events() if e.event.type == "run-started")
            other = f" (the run was started with gtloop {made}, this is {gtloop.__version__})"
            raise RunError(
                f"look {c.certificate.look}, slice {c.certificate.slice!r}: the test done again differs in "
                f"{', '.join(c.differs)}: p is {p}, the ledger says {c.certificate.p}"
                f"{other if made != gtloop.__version__ else ''}; don't rely on these machine labels"
            )


# ----------------------------------------------------------------------------------------- history


def _history(run: Run, row: int, requests: set[str]) -> Iterator[dict[str, Any]]:
    """The events that name a row or one of its requests, oldest first."""
    answers: set[str] = set()
    for entry in run.events():
        for what in _named(run, entry.event, row, requests, answers):
            kind = entry.event.type
            yield {"seq": entry.seq, "at": entry.at, "event": kind, "iteration": entry.event.iteration, "what": what}


def _named(run: Run, event: AnyEvent, row: int, requests: set[str], answers: set[str]) -> Iterator[str]:
    """What an event says of a row, once for each file of it that names the row."""
    for field in type(event).model_fields:
        ref = getattr(event, field)
        if not isinstance(ref, FileRef) or field == "items" or event.type == "model-fitted":
            continue
        t = run.store.read(ref)
        if "row" in t and "request" not in t:
            count = int(np.count_nonzero(np.asarray(t["row"]) == row))
        elif "request" in t:
            count = sum(rid in requests for rid in t["request"])
            if event.type == "answers-collected" and field == "answers":
                answers.update(i for i, rid in zip(t["id"], t["request"], strict=True) if rid in requests)
        else:
            count = sum(i in answers for i in t.get("answer", ()))
        if count:
            yield _said(event, field, count)


def _said(event: AnyEvent, field: str, count: int) -> str:
    if event.type == "batch-committed":
        return (
            "the sampler reached it: from validation to training"
            if field == "moved"
            else f"people were to be asked ({event.phase}): {event.reason}"
        )
    if event.type == "answers-collected":
        return f"{counted(count, 'answer')} came in" if field == "answers" else "the request was closed"
    if event.type == "answers-settled":
        return f"{counted(count, 'answer')} settled with the annotator"
    if event.type == "looked":
        return (
            f"look {event.look}: its machine label, of model {event.model}, became final"
            if field == "labels"
            else f"look {event.look}: its region was accepted, so that it validates no more and trains"
        )
    return BEGAN.get(event.type, event.type.replace("-", " "))


# -------------------------------------------------------------------------------------------- words


def _why(facts: dict[str, Any], metric: str) -> list[str]:
    """The story in sentences."""
    label, found = facts["label"], []
    if facts["alias_of"] is not None:
        found.append(f"it is an exact copy of {facts['alias_of']}, and has its label")
    if label is None:
        return [*found, facts["reason"], *_unlooked(facts["looks"], metric)]
    if label["source"] == "machine":
        return [*found, *_by_machine(label, facts["looks"], metric)]
    return [*found, *_by_people(facts), *_unlooked(facts["looks"], metric)]


def _by_machine(label: dict[str, Any], looks: list[dict[str, Any]], metric: str) -> Iterator[str]:
    look = next((x for x in reversed(looks) if x["accepted"] and x["role"] == "pool"), None)
    if look is None:
        yield f"the machine labelled it (model {label['model']}, confidence {label['confidence']:.3f})"
        return
    c = look["certificate"]
    every = c["coverage"] == 1
    which = "all labels" if every else f"labels of {look['threshold']:.3f} or more"
    yield (
        f"the machine labelled it at look {look['look']}: model {look['model']} scores it {look['score']:.3f}, and "
        f"{which} were accepted (slice {look['slice']!r}){_part(c)}"
    )
    if c["bound"] is None:
        yield f"nothing is certified there: rule {c['rule']!r} asks only for a mean; estimated {c['estimate']:.3f}"
    else:
        what = "1 - mean loss over all images" if c["kind"] == "dataset" else f"{metric} of that region"
        p = "" if c["p"] is None else f", p {c['p']:.4g} for what was to be shown"
        yield (
            f"{c['n']} validation images show that {what} is at least {c['bound']:.3f} (error probability "
            f"{c['delta']:.3g}{p}); {_again(look, c)}"
        )
    less = "with" if every else f"with a score below {look['threshold']:.3f},"
    yield (
        f"{look['surer']} of {look['pool']} images that nobody had labelled score higher; {less} a higher target or "
        "fewer good validation images people would have labelled it"
    )


def _part(c: dict[str, Any]) -> str:
    """Which part of an accepted region was labelled, where the budget did not pay the fees of all."""
    if c["labelled"] is None or c["labelled"] == c["pool"]:
        return ""
    return f"; the budget paid the fees of a random {c['labelled']} of the {c['pool']} images there"


def _again(look: dict[str, Any], c: dict[str, Any]) -> str:
    if look["recomputed"] is None:
        return f"the test can't be done again here: it was {c['test']}, this version of gtloop has another"
    return f"the test, done again from {c['evidence']}, comes out the same"


def _by_people(facts: dict[str, Any]) -> Iterator[str]:
    made = facts["made"]
    for r in facts["requests"]:
        yield (
            f"people were asked in iteration {r['iteration']} ({r['phase']}) {PURPOSES.get(r['purpose'], '')}: "
            f"{r['reason']}"
        )
    if not facts["requests"]:
        yield "people had labelled it before the run"
    elif made is not None and made["workers"] is not None:
        used = [a for r in facts["requests"] if r["request"] == made["request"] for a in r["answers"]]
        left = sum(not a["used"] for a in used)
        yield (
            f"{counted(made['workers'], 'answer')} became one label by {made['consolidation']}: confidence "
            f"{made['confidence']:.3f}, agreement {made['agreement']:.3f}"
            + (f"; {counted(left, 'answer')} took no part" if left else "")
        )


def _unlooked(looks: list[dict[str, Any]], metric: str) -> Iterator[str]:
    """Why no look gave it to the machine."""
    for look in looks:
        c = look["certificate"]
        if look["role"] == "validation":
            yield (
                f"at look {look['look']} it validated: the model's label had {metric} {look['quality']:.3f} against "
                f"that of people, at score {look['score']:.3f}"
            )
        elif c is None or c["threshold"] is None:
            yield f"look {look['look']} gave the machine nothing in its slice: {look['why']}"
        elif not look["accepted"]:
            yield (
                f"at look {look['look']} the model scored it {look['score']:.3f}, below {c['threshold']:.3f}; "
                "from there on machine labels were accepted"
            )
        elif not look["labelled"]:
            yield (
                f"at look {look['look']} its label was accepted, at score {look['score']:.3f}, but not given{_part(c)}"
            )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
