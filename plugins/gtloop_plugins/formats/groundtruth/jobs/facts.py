"""What a job was about: its label attribute, its task, its categories, how many people answered, whom it picked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gtloop.errors import BadAnswer, BadLabels, UsageError
from gtloop.interfaces import Progress
from gtloop_plugins.formats.groundtruth.jobs.answers import answers_in, names_in, task_of
from gtloop_plugins.formats.groundtruth.jobs.folder import JobFolder, Line
from gtloop_plugins.formats.groundtruth.options import BACKGROUND, METADATA, REF, TYPES, VOID

_CHOOSE = "choose one with --attribute"
_TASKS = {type_: name for name, type_ in TYPES.items()}
_WORDS = {"bbox": "boxes", "classification": "categories", "segmentation": "masks"}


class JobFacts(NamedTuple):
    """What a job was about.

    ``workers``: people who answered an object, usually; 0 where the folder has no answers. ``random``: whether its
    first objects can have been drawn at random, as automated labelling does; without it the service goes by the order
    of the manifest.
    """

    task: str
    attribute: str
    categories: tuple[str, ...]
    workers: int
    random: bool


def facts_of(
    job: JobFolder, task: str | None, attribute: str | None, categories: Sequence[str] | None, progress: Progress
) -> JobFacts:
    """Find out what a job was about; what is given goes before what is found.

    Raises:
        BadLabels: It is about something else than objects, categories or regions of images, or can't be told.
        UsageError: The task is another one than that of the labels, or none of them has the attribute.
    """
    found, kind = _attribute(job, task, attribute)
    told = _TASKS.get(kind) or _by_answers(job)
    if task is not None and told not in (None, task):
        raise UsageError(f"--task {task}: the labels of {job.root} are {_WORDS[told]}; give --task {told}")
    task = task or told
    if task is None:
        raise BadLabels(f"nothing in {job.root} tells what was labelled; say it with --task")
    names, workers = _answered(job, task, progress)
    if categories is None:
        categories = job.declared() or _named(job, found)
        categories = [*categories, *sorted(names - set(categories))]
    if not categories:
        raise BadLabels(f"nothing in {job.root} names a category; name them with --classes a,b")
    return JobFacts(task, found, tuple(categories), workers, _random(job))


def _labels(job: JobFolder) -> Iterator[Line]:
    yield from job.lines.values()
    for lines in job.automatic.values():
        yield from lines.values()
    yield from job.consolidated.values()


def _attribute(job: JobFolder, task: str | None, given: str | None) -> tuple[str, str]:
    """The label attribute and its type; empty where no label is there."""
    types: dict[str, str] = {}
    own, keys = set[str](), set[str]()
    wanted = (given, f"{given}{REF}")
    for record, _ in _labels(job):
        keys.update(record)
        for key, value in record.items():
            if key.endswith(METADATA) and isinstance(value, dict) and isinstance(value.get("type"), str):
                name = key.removesuffix(METADATA)
                types[name] = value["type"].lower()
                if str(value.get("job-name", "")).rpartition("/")[2] == job.root.name:
                    own.add(name)
                if "adjustment-status" in value and (given is None or name in wanted):
                    raise BadLabels(f"{job.root}: {name} adjusts labels of another job, which is not supported")
    if given is not None:
        found = next((name for name in wanted if name in types or name in keys), None)
        if found is None and types:
            there = ", ".join(f"{n} ({_WORDS[_TASKS[t]] if t in _TASKS else t})" for n, t in sorted(types.items()))
            raise UsageError(f"--attribute {given}: the labels of {job.root} are under {there}; give one of these")
        return found or given, types.get(found or given, "")
    readable = {n: t for n, t in types.items() if t in _TASKS}
    fit = {n: t for n, t in readable.items() if task in (None, _TASKS[t])} or readable
    fit = {n: t for n, t in fit.items() if n in own} or fit
    if len(fit) > 1:
        raise BadLabels(f"{job.root} has labels under {' and '.join(sorted(fit))}; {_CHOOSE}")
    if not fit and (others := {n: t for n, t in types.items() if t.startswith("groundtruth/")}):
        named = ", ".join(f"{n} ({t})" for n, t in sorted(others.items()))
        raise BadLabels(f"{job.root} is about {named}; what is read: {', '.join(TYPES.values())}")
    return next(iter(fit.items()), ("", ""))


def _by_answers(job: JobFolder) -> str | None:
    files = (f for objects in job.responses.values() for several in objects.values() for f in several)
    return next((task for task in map(task_of, files) if task), None)


def _answered(job: JobFolder, task: str, progress: Progress) -> tuple[set[str], int]:
    """The categories that workers named, and how many answered an object: the usual number."""
    names: set[str] = set()
    counts: Counter[int] = Counter()
    total = sum(map(len, job.responses.values()))
    for objects in job.responses.values():
        for files in objects.values():
            workers: set[str] = set()
            for file in files:
                try:
                    for said in answers_in(file, task):
                        names.update(names_in(said.payload))
                        workers.update([said.worker] if said.outcome != "declined" else [])
                except BadAnswer:
                    continue  # it is said when the file's turn comes
            counts[len(workers)] += 1
            progress("read answers", counts.total(), total)
    del counts[0]
    return names, max(counts, key=lambda n: (counts[n], n), default=0)


def _named(job: JobFolder, attribute: str) -> list[str]:
    """The categories of a job's labels, in the order of their numbers."""
    numbers: dict[str, int] = {}
    for record, _ in _labels(job):
        metadata = record.get(f"{attribute}{METADATA}")
        for name, number in _numbered(record.get(attribute), metadata if isinstance(metadata, dict) else {}):
            numbers[name] = min(number, numbers.get(name, number))
    return sorted(numbers, key=lambda name: (numbers[name], name))


def _numbered(value: Any, metadata: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """The categories that metadata name, with their numbers."""
    for key in ("class-map", "internal-color-map"):
        named = metadata.get(key)
        for number, entry in named.items() if isinstance(named, dict) else ():
            name = entry.get("class-name") if isinstance(entry, dict) else entry
            if str(number).isdecimal() and isinstance(name, str) and name not in (BACKGROUND, VOID):
                yield name, int(number)
    if isinstance(name := metadata.get("class-name"), str):
        yield name, int(value) if str(value).isdecimal() else 1 << 30


def _random(job: JobFolder) -> bool:
    """Whether the first two batches are anything but the first lines of the manifest."""
    first = sorted(job.responses)[:2]
    asked = sorted(own for number in first for own in job.responses[number])
    return bool(asked) and asked != [o.id for o in job.objects[: len(asked)]]
