"""What a format promises: nothing lost without a word, and its reader reads what its writer wrote."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from gtloop.interfaces import Entry, ExportRow, Format
from gtloop.records import Item, Label
from gtloop.testing.case import Case, CheckSkipped, brief, during, require

LOSS = 0.05
"""Largest error of a label that a format may cause by rounding."""


def check_writes_and_reads(case: Case) -> None:
    """It writes ten rows and reads the file again, without raising; every entry is of one of the images."""
    _round_trip(case)


def check_reader_reads_what_writer_wrote(case: Case) -> None:
    """Every label comes back as it was, up to rounding."""
    entries = _round_trip(case)
    truths = {item.name: truth for item, truth in zip(case.items, case.truths, strict=False)}
    items = {item.name: item for item in case.items}
    for name, entry in entries.items():
        if entry.payload is None:
            continue
        back = case.task.parse(entry.payload, items[name])
        error = case.task.error(back, truths[name])
        require(error <= LOSS, f"{name}: {brief(truths[name])} comes back as {brief(back)} (error {error:.3f})")


def check_counts_in_are_counts_out(case: Case) -> None:
    """Every image with objects comes back once, the same number of objects in all."""
    entries = _round_trip(case)
    full = [i.name for i in _labelled(case) if case.task.count(case.truths[i.row])]
    lost = [name for name in full if name not in entries or entries[name].payload is None]
    require(not lost, f"{len(lost)} of {len(full)} labelled images do not come back: {', '.join(lost)}")
    wanted = sum(case.task.count(case.truths[i.row]) for i in _labelled(case))
    found = sum(case.task.count(e.payload) for e in entries.values() if e.payload is not None)
    require(found == wanted, f"{wanted} objects were written, {found} come back")


def check_empty_images_are_kept(case: Case) -> None:
    """An image that holds nothing comes back as a label that says so."""
    empty = case.task.empty()
    if empty is None:
        raise CheckSkipped("this task has no empty label")
    entries = _round_trip(case)
    for item in _labelled(case):
        if case.truths[item.row] == empty:
            entry = entries.get(item.name)
            require(
                entry is not None,
                f"{item.name}, labelled as empty, does not come back: it would be asked for and paid again",
            )
            got = entry.payload if entry is not None else None
            require(got == empty, f"{item.name}, labelled as empty, comes back as {got}")


def check_unlabelled_rows_never_become_labels(case: Case) -> None:
    """A row without a label comes back without one, or not at all but then the writer says so."""
    entries = _round_trip(case)
    bare = case.items[-1].name
    entry = entries.get(bare)
    require(
        entry is None or entry.payload is None,
        f"{bare} has no label, but comes back labelled as {entry and entry.payload}",
    )
    require(
        entry is not None or case.memory["warnings"],
        f"{bare}, which has no label, is left out and write returns no warning",
    )


def check_sniff_knows_its_own(case: Case) -> None:
    """``sniff`` recognises what ``write`` wrote, and not another file or an empty folder."""
    if not case.cls.writes:
        raise CheckSkipped("does not write")
    _round_trip(case)
    reader: Format = case.build()
    require(reader.sniff(case.memory["written"]), f"sniff does not know its own {case.memory['written'].name}")
    other = case.path("other.txt")
    other.write_text("hello\n")
    empty = case.path("no-labels")
    empty.mkdir(exist_ok=True)
    for path in (other, empty):
        what = "an empty folder" if path is empty else "a text file that says hello"
        require(not reader.sniff(path), f"sniff says that {what} is of this format")


def check_writing_nothing_works(case: Case) -> None:
    """An export of no rows is written, and read as no labels."""
    if not (case.cls.writes and case.cls.reads):
        raise CheckSkipped("does not read and write")
    path = case.path(f"nothing{case.cls.suffix}")
    case.build().write(path, [], case.task_name, _info(case))
    entries = list(case.build().read(path, case.task_name, case.context.categories))
    require(not entries, f"{len(entries)} entries read from an export of no rows")


def _round_trip(case: Case) -> dict[str, Entry]:
    """Entries by item name after write and read; written once for all checks of a case."""
    if not case.task_name:
        raise CheckSkipped(f"no installed task is among {', '.join(sorted(case.cls.tasks))}")
    if not (case.cls.writes and case.cls.reads):
        raise CheckSkipped("does not read and write")
    if "written" not in case.memory:
        case.memory["written"] = _write(case)
    names = {PurePosixPath(item.name).stem: item.name for item in case.items}
    found: dict[str, Entry] = {}
    with during("reading what it wrote"):
        entries = list(case.build().read(case.memory["written"], case.task_name, case.context.categories))
    for entry in entries:
        name = names.get(PurePosixPath(entry.name).stem)
        require(name is not None, f"an entry {entry.name!r} that is no image of the export")
        require(name not in found, f"{name} comes back twice")
        found[str(name)] = entry
    return found


def _write(case: Case) -> Path:
    path = case.path(f"export{case.cls.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for item in case.items:
        width, height = item.display_size or (None, None)
        label = None
        if item in _labelled(case):
            payload = case.truths[item.row]
            label = Label(row=item.row, payload=payload, source="human", confidence=1.0, iteration=1, workers=3)
        rows.append(ExportRow(item, label, width, height, "human" if label else "pool", "" if label else "budget"))
    with during(f"writing {len(rows)} rows"):
        warnings = case.build().write(path, iter(rows), case.task_name, _info(case))
    require(isinstance(warnings, list), f"write returned {type(warnings).__name__}, not a list of sentences")
    require(path.exists(), f"write left nothing at {path.name}")
    case.memory["warnings"] = warnings
    return path


def _labelled(case: Case) -> list[Item]:
    return case.items[: len(case.truths)][:-1]


def _info(case: Case) -> dict[str, object]:
    return {"categories": case.context.categories, "run": "check", "frame": "display", "version": "0"}


FORMAT_CHECKS = (
    check_writes_and_reads,
    check_reader_reads_what_writer_wrote,
    check_counts_in_are_counts_out,
    check_empty_images_are_kept,
    check_unlabelled_rows_never_become_labels,
    check_sniff_knows_its_own,
    check_writing_nothing_works,
)
