"""How good machine labels can look against people's: measured once validation is labelled, before anything is trained.

People's labels are what machine labels are measured against. Where people differ among themselves, even a perfect model
falls short of their labels; a target above that can't be shown, and the run says so while it is cheap to change.
"""

from __future__ import annotations

from gtloop.agreement import split_half
from gtloop.errors import blame
from gtloop.events import AnyEvent, ConsistencyMeasured
from gtloop.job import Job
from gtloop.people import every_request, known_skills, read_answers, usable_answers
from gtloop.picking import next_phase
from gtloop.records import Answer

BLIND = ("probe", "validation")


def consistency_due(job: Job) -> bool:
    """Whether the first validation labels of a stage are there, and how far people agree on them is not known."""
    f = job.state.facts
    if f.consistent_in >= f.stage.number or job.settings.run.workers < 2 or job.state.stage_looks:
        return False
    return next_phase(job, resting=False) not in BLIND and not f.ripe and bool(job.state.stage_batches)


def measure_consistency(job: Job) -> list[AnyEvent]:
    """Split the people who answered validation images in two, and compare the labels of the halves."""
    task, f, skills = job.plugins.task, job.state.facts, known_skills(job)
    with blame("task", task.name, "consolidate"):
        halves = split_half(
            sorted(_answers(job).items()), lambda given: task.consolidate(given, skills), task.error, job.seed
        )
    supported = None if halves.quality is None else (1 + halves.quality) / 2
    promise = job.promise
    short = (
        promise.kind == "selective"
        and promise.rule != "empirical"
        and supported is not None
        and halves.error is not None
        and supported + halves.error < promise.target
    )
    warning = (
        f"the labels of half of the people differ from those of the others: {promise.metric} {halves.quality:.3f} on "
        f"{halves.items} images. Against such labels a perfect model would reach about {supported:.3f}, the target is "
        f"{promise.target:g}: it can hardly be shown. Have more people answer each image (run.workers), mend the "
        "instructions, or start again with a lower --target"
        if short
        else ""
    )
    return [
        ConsistencyMeasured(
            iteration=job.state.iteration,
            stage=f.stage.number,
            items=halves.items,
            halves=halves.quality,
            error=halves.error,
            supported=supported,
            warning=warning,
        )
    ]


def _answers(job: Job) -> dict[int, list[Answer]]:
    """Row to the answers that made the label of each validation item of this stage."""
    validation = set(job.state.validation_rows().tolist())
    purposes = ("validation", "control")
    asked = {rid: row for rid, row, what in every_request(job) if what in purposes and row in validation}
    found: dict[int, list[Answer]] = {}
    for rid, answers in read_answers(job.store, job.state.facts.answer_files, set(asked)).items():
        found[asked[rid]] = usable_answers(job, asked[rid], answers)
    return found
