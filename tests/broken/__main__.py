"""Print the table of ``docs/plugins/testing.md``: ``python -m broken`` in ``tests``; ``--write`` puts it there."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from broken.row import Row, failures
from broken.table import TABLE
from gtloop.registry import Registry
from gtloop.testing import Verdict, checks_annotator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins" / "testing.md"
SCRATCH = re.compile(r"/[^\s']*/gtloop-check-[^/]*/")


def shown(row: Row, found: Sequence[Verdict]) -> str:
    """A row of the table: fault, check, verdict."""
    (verdict, *_) = [v for v in found if v.check == row.check]
    text = SCRATCH.sub("/tmp/", verdict.message)
    return (
        f"| {row.fault} | `{row.check}` | `` {text} `` |".replace("|", "|") if "|" not in text else _escaped(row, text)
    )


def _escaped(row: Row, text: str) -> str:
    also = "".join(f", `{name}`" for name in row.also)
    return f"| {row.fault} | `{row.check}`{also} | `` {text.replace('|', chr(92) + '|')} `` |"


def masked(line: str) -> str:
    """A row without its numbers, which may differ in the last digits on another machine."""
    return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", line)


def table(lines: Sequence[str]) -> str:
    """The table with its head."""
    return "\n".join(["| fault | check | verdict |", "|---|---|---|", *lines])


def main() -> None:
    checks_annotator.PATIENCE_S = 0.5
    registry = Registry.load(discover=False, extra_modules=["gtloop_plugins"])
    made = table([shown(row, failures(row, registry)) for row in TABLE])
    if "--write" not in sys.argv:
        print(made)
        return
    page = PAGE.read_text("utf-8")
    old = re.search(re.escape(table([])) + r"\n(\|.*\n)*", page)
    assert old, f"{PAGE} has no table that begins with {table([])!r}"
    PAGE.write_text(page[: old.start()] + made + "\n" + page[old.end() :], "utf-8")


if __name__ == "__main__":
    main()
