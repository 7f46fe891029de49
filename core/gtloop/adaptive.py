"""How many people answer: two where they agree, more where they don't (``people.first_answers``, ``people.sure``).

Only training items, and never those that may validate: the promise is about what ``run.workers`` people would have
answered, so whatever a machine label is measured against is answered by that many. A request starts with few answers;
once it has them, they are weighed: it is closed, or wants one more, up to ``run.workers``. Its reservation covers all
of these from the start, so that one more answer never needs new money. (Branson, Van Horn and Perona, "Lean
crowdsourcing", CVPR 2017: ask until the expected risk is low.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gtloop.corrections import Asked, asked_in
from gtloop.errors import PluginFault, blame
from gtloop.events import AnswersExtended, AnyEvent, Phase
from gtloop.interfaces import Hint
from gtloop.job import Job
from gtloop.people import known_skills, read_answers, usable_answers
from gtloop.predictions import hints_of
from gtloop.records import Answer

if TYPE_CHECKING:
    from gtloop.picking import Wanted


def adapted(job: Job, phase: Phase, wanted: Wanted) -> Wanted:
    """A batch whose requests start with ``people.first_answers``, where some of them may do with fewer than all.

    Those with a fixed number start so too, and come to theirs whatever people say: by what is asked first, nobody can
    tell them from the others.
    """
    first = job.settings.people.first_answers
    if first is None or first >= wanted.answers:
        return wanted
    fixed = np.array([purpose != "train" for purpose in wanted.purposes], np.bool_)
    if phase == "train" and _may_cross_fit(job):
        fixed[:] = True
    elif phase == "relabel":
        fixed |= job.state.columns["random"][wanted.rows]
    return wanted if fixed.all() else wanted._replace(first=first, fixed=fixed)


def _may_cross_fit(job: Job) -> bool:
    """Whether random training items that are asked now may validate at a look to come (``looking.cross_fitting``)."""
    late = job.settings.loop.certify == "late" and job.state.stage_looks == 0
    return late and job.settings.promise.cross_fit > 0 and job.plugins.detector.trainable


def weighing_due(job: Job) -> bool:
    """Whether there are requests with all answers that they wanted, and that may want more."""
    return any(r.full for r in job.state.facts.open.values())


def weigh(job: Job) -> list[AnyEvent]:
    """Close what is answered well enough, and have one more person asked about the rest."""
    f = job.state.facts
    full = {rid: r for rid, r in f.open.items() if r.full}
    one_more = job.state.rates.request(1)  # an annotator that is dearer than it said may have used up what is reserved
    doubtful = [rid for rid, r in full.items() if not r.fixed and r.got < r.most and r.reserved >= one_more]
    doubtful = [] if f.cancelled else doubtful
    sure = dict(zip(doubtful, _sureness(job, doubtful), strict=True))
    wants: dict[str, int] = {}
    for rid, r in full.items():
        if not f.cancelled and r.got < r.most and (r.fixed or sure.get(rid, 1.0) < job.settings.people.sure):
            wants[rid] = r.most if r.fixed else r.got + 1
    number = f.extensions + 1
    ref = job.store.write(
        f"answers/extended-{number:05d}.parquet",
        {
            "request": list(full),
            "sure": np.array([sure.get(rid, np.nan) for rid in full]),
            "answers": np.array([wants.get(rid, r.want) for rid, r in full.items()], np.int16),
            "closed": np.array([rid not in wants for rid in full], np.bool_),
        },
    )
    return [AnswersExtended(iteration=len(f.batches), number=number, requests=ref, extended=len(wants))]


def _sureness(job: Job, requests: list[str]) -> list[float]:
    """How sure the answers to each of some open requests are, in [0, 1], by what is known of the workers so far."""
    f, task = job.state.facts, job.plugins.task
    rows = [f.open[rid].row for rid in requests]
    said = read_answers(job.store, f.answer_files, set(requests)) if requests else {}
    skills, asked = known_skills(job), asked_in(job, set(requests))
    found = []
    for rid, row, hint in zip(requests, rows, hints_of(job, rows), strict=True):
        usable = usable_answers(job, row, said.get(rid, []))
        what, more = asked.get(rid), f.open[rid].most - f.open[rid].got
        with blame("task", task.name, "sure"):
            if what is not None and what.mode != "draw":
                sure = _of_shown(job, what, usable, more)
            else:
                sure = task.sure(usable, skills, hint if what is None else Hint(), more) if usable else 0.0
        if not 0 <= sure <= 1:
            raise PluginFault(f"task {task.name!r}: sure must lie in [0, 1]; see: gtloop plugins check {task.name}")
        found.append(float(sure))
    return found


def _of_shown(job: Job, what: Asked, answers: list[Answer], more: int) -> float:
    """How sure people are of a label that they were shown: wholly where all let it pass.

    Who corrected it showed nothing of their own habits, and counts as somebody new.
    """
    task = job.plugins.task
    if what.mode == "verify":
        return what.sure(answers)
    label = what.label(task, job.state.facts.renamed)
    if answers and all(a.payload == label for a in answers):
        return 1.0
    return task.sure(answers, {}, Hint(), more) if answers else 0.0
