"""One plain sentence an event: what the command line says, and pages that show how a run goes."""

from __future__ import annotations

from decimal import Decimal

from gtloop import events as ev
from gtloop.events import Event
from gtloop.money import show
from gtloop.records import MICRO
from gtloop.state import HUMAN, MACHINE, State
from gtloop.wording import counted


def sentence(event: Event, state: State | None = None) -> str:
    """What an event means to the person who waits; empty for those of no interest.

    ``state`` is that after the event; without it, totals are left out.
    """
    match event:
        case ev.ItemsQuarantined():
            return _put_aside(event)
        case ev.BatchCommitted():
            reached = counted(event.moved.rows, "validation image") if event.moved else ""
            moved = reached and f"; {reached} reached too, now training"
            cost = f", at most {show(event.reserved)}" if event.reserved else ""
            going = counted(event.requests.rows, "image") + (" goes" if event.requests.rows == 1 else " go")
            return f"{going} to people ({event.phase}{cost}): {event.reason}{moved}"
        case ev.LabelsConsolidated():
            so_far = f", {state.count(HUMAN)} labelled by people so far" if state else ""
            return f"{counted(event.labels.rows, 'image')} answered{so_far}"
        case ev.AnswersExtended():
            more = counted(event.extended, "image") + (" asks" if event.extended == 1 else " ask")
            return f"{more} for more answers" if event.extended else ""
        case ev.PricesQuoted():
            fee = f" and a fee of {_exactly(event.fee)}" if event.fee else ""
            return f"{event.annotator} takes {_exactly(event.answer)} for an answer{fee}"
        case ev.PeopleAssessed():
            return "; ".join(f"{worker} gets no more work: {why}" for worker, why in event.out.items())
        case ev.ReviewConcluded():
            return _looked_at(event, state)
        case ev.AuditConcluded():
            regions = ", ".join(f"{r.slice} {r.mean:.3f}" for r in event.regions if r.mean is not None)
            return f"{counted(event.labels.rows, 'machine label')} checked; mean quality so far: {regions}"
        case ev.RegionDemoted():
            return f"{counted(event.rows.rows, 'machine label')} withdrawn: {event.why}"
        case ev.ConsistencyMeasured():
            return event.warning and f"warning: {event.warning}"
        case ev.ModelFitted():
            if event.path is None and not event.fault:  # nothing to fit
                return ""
            examples = counted(event.examples, "image")
            return event.fault or f"model {event.model} fitted on {examples} in {event.seconds:.0f} s"
        case ev.ItemsPredicted():
            return f"{counted(event.rows, 'image')} predicted by {event.model} in {event.seconds:.0f} s"
        case ev.Considered():
            return event.why
        case ev.Looked():
            return f"look {event.look}: {event.why}"
        case ev.BudgetReached():
            return f"the budget has {show(event.left)} left, an image costs {show(event.needed)}"
        case ev.RunPaused():
            return f"paused: {event.why}"
        case ev.RunFinished():
            totals = f": {state.count(HUMAN)} by people, {state.count(MACHINE)} by machine" if state else ""
            return f"finished{totals}"
        case _:
            return ""


def _exactly(amount: int) -> str:
    """Micro-dollars as text, fractions of a cent too."""
    return f"${Decimal(amount) / MICRO:.6f}".rstrip("0").rstrip(".")


def _looked_at(event: ev.ReviewConcluded, state: State | None) -> str:
    looked = f"{counted(event.labels.rows, 'label')} looked at"
    if state is None:
        return looked
    totals = state.facts.reviewed.values()
    verdicts = ("kept", "changed", "wrong", "unsure")
    counts = ", ".join(f"{n} {v}" for v in verdicts if (n := sum(getattr(t, v) for t in totals)))
    return f"{looked}; of all so far: {counts}"


def _put_aside(event: ev.ItemsQuarantined) -> str:
    if event.training:
        return f"{counted(event.file.rows, 'unreadable image')} left out of training, first {event.example}"
    text = f"{counted(event.file.rows, 'unreadable image')} put aside"
    if not event.example:  # of a version that did not say
        return text
    if event.file.rows == 1:
        return f"{text}: {event.example}"
    return f"{text}, first {event.example}; the reason of each is in an export: gtloop export RUN"
