"""Whether the selected plugins work together; asked before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable

from gtloop.errors import ConfigError, Unsupported
from gtloop.interfaces import Annotator, Detector, Sampler, Score, Task
from gtloop.registry import Registry
from gtloop.settings import PeopleTable

SCORE = "score"
"""The column that core adds to a task's features once there are predictions."""


def check_fit(
    registry: Registry,
    task: Task,
    annotator: Annotator | type[Annotator],
    detector: Detector | type[Detector],
    sampler: Sampler | type[Sampler],
    score: Score | type[Score],
) -> list[str]:
    """Check that the selected plugins fit together.

    Returns:
        Notes worth showing: a sampler whose columns this task does not have falls back to random.

    Raises:
        Unsupported: With every problem at once, and the plugins that would do.
    """
    problems = [*_detector(registry, task, detector), *_annotator(registry, task, annotator), *_score(task, score)]
    if problems:
        raise Unsupported("; ".join(problems))
    lacking = sorted(sampler.needs - {*task.feature_names, SCORE, *detector.gives})
    if not lacking:
        return []
    return [
        f"sampler {sampler.name!r} needs {', '.join(lacking)}, which task {task.name!r} and detector "
        f"{detector.name!r} do not give: it picks at random"
    ]


def _detector(registry: Registry, task: Task, detector: Detector | type[Detector]) -> list[str]:
    if {task.name, "*"} & detector.tasks:
        return []
    able = [d.cls.name for d in registry.providers("detector") if {task.name, "*"} & getattr(d.cls, "tasks", set())]
    return [
        f"detector {detector.name!r} does not do task {task.name!r} (it does: {_names(detector.tasks)}). "
        f"Detectors that do: {_names(able)}"
    ]


def _annotator(registry: Registry, task: Task, annotator: Annotator | type[Annotator]) -> list[str]:
    kinds = frozenset(primitive.kind for primitive in task.form().primitives)

    def lacks(forms: frozenset[str]) -> frozenset[str]:
        return frozenset() if "*" in forms else kinds - forms

    if not (missing := lacks(annotator.forms)):
        return []
    able = [a.cls.name for a in registry.providers("annotator") if not lacks(getattr(a.cls, "forms", frozenset()))]
    return [
        f"annotator {annotator.name!r} cannot show the form of task {task.name!r}: it lacks {_names(missing)} "
        f"(it can show: {_names(annotator.forms)}). Annotators that can: {_names(able)}"
    ]


def check_people(annotator: Annotator, people: PeopleTable, workers: int) -> None:
    """Check that an annotator can do what the settings ask of it.

    Raises:
        Unsupported: It can't keep people out, or can't show them a label.
        ConfigError: More people are to answer at first than at most.
    """
    if people.first_answers is not None and people.first_answers > workers:
        raise ConfigError(
            f"people.first_answers is {people.first_answers}, more than run.workers, {workers}: "
            "raise --workers, or ask fewer at first"
        )
    if people.most_answers is not None and "block" not in annotator.gives:
        raise Unsupported(
            f"annotator {annotator.name!r} can't keep anybody out, so people.most_answers has no effect: leave it out"
        )
    if people.proposals == "always" and not annotator.modes & {"adjust", "verify"}:
        raise Unsupported(
            f"annotator {annotator.name!r} can't show people a label to correct, as people.proposals = 'always' wants: "
            "leave it out, or choose 'auto'"
        )


def _score(task: Task, score: Score | type[Score]) -> list[str]:
    lacking = score.needs - {*task.feature_names}
    if not lacking:
        return []
    return [
        f"score {score.name!r} needs {_names(lacking)}, which task {task.name!r} does not give "
        f"(it gives: {', '.join(task.feature_names)})"
    ]


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
