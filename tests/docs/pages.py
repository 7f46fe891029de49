"""The pages of the documentation as what tests need: code blocks with their markers, sections, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PHOTOS = 180
"""Images in the folder in which the pages run."""
SHELLS = ("sh", "console")
MARKER = re.compile(r"<!-- (test|file): (.+?) -->")
FENCE = re.compile(r"^```(\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced code block and the marker on the line before it.

    Markers: ``<!-- test: slow -->`` (runs with ``-m slow``), ``<!-- test: skip REASON -->``,
    ``<!-- test: benchmark COST -->`` (not run, its options are checked),
    ``<!-- test: exit N -->`` (its last command exits with N), ``<!-- file: PATH -->`` (the block is that file).
    """

    page: Path
    line: int
    language: str
    marker: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def skipped(self) -> bool:
        return self.marker.startswith("test: skip ")

    @property
    def benchmark(self) -> bool:
        return self.marker.startswith("test: benchmark ")

    @property
    def slow(self) -> bool:
        return self.marker == "test: slow"

    @property
    def file(self) -> str:
        """Path of the file that the block is; empty where it is none."""
        return self.marker.removeprefix("file: ") if self.marker.startswith("file: ") else ""

    @property
    def code(self) -> int:
        """Exit code that its last command has to have."""
        return int(self.marker.removeprefix("test: exit ")) if self.marker.startswith("test: exit ") else 0


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, in order."""
    before, start = "", 0
    language: str | None = None
    body: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if language is None and fence:
            language, start, body = fence[1], number, []
        elif language is not None and line.startswith("```"):
            marker = MARKER.fullmatch(before.strip())
            text = f"{marker[1]}: {marker[2]}" if marker else ""
            yield Block(page, start, language, text, "\n".join(body) + "\n")
            language, before = None, ""
        elif language is not None:
            body.append(line)
        elif line.strip():
            before = line
    assert language is None, f"{page}: the code block at line {start} has no end"


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """(command, output lines shown below it): ``console`` marks commands with ``$``, ``sh`` is one script."""
    if block.language == "sh":
        return [(block.text, [])]
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith(">") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        elif line.strip():
            assert found, f"{block.where}: a console block starts with a command, '$ ...'"
            found[-1][1].append(line)
    return found


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one of the same or a higher level."""
    level = len(heading) - len(heading.lstrip("#"))
    lines = page.read_text("utf-8").splitlines()
    assert heading in lines, f"{page.relative_to(ROOT)} has no heading {heading!r}"
    start, inside, kept = lines.index(heading), False, []
    for line in lines[start + 1 :]:
        inside ^= line.startswith("```")
        if not inside and re.match(rf"#{{1,{level}}} ", line):
            break
        kept.append(line)
    return "\n".join(kept)


def rows(text: str) -> dict[str, list[str]]:
    """Rows of the tables in a text: the first cell, back-ticks off, to the other cells."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            found[cells[0].strip("`")] = cells[1:]
    return found


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    inside, found = False, set()
    for line in page.read_text("utf-8").splitlines():
        inside ^= line.startswith("```")
        if not inside and line.startswith("#"):
            found.add(slug(line.lstrip("#")))
    return found


def links(page: Path) -> list[str]:
    """Targets of the links that lead to files or headings, outside code."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M)
    text = re.sub(r"`[^`\n]*`", "", text)
    return [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t and not t.startswith("mailto:")]
