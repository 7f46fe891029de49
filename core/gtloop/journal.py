"""An append-only file of JSON lines that survives being killed in the middle of a write.

For what an annotator has to remember between processes. One writer at a time (the driver holds the
run's lock); any number of readers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gtloop.errors import RunError
from gtloop.files import sync_dir


class Journal:
    """JSON objects, one a line, in the order in which they were appended.

    ``entries`` follows the file: what another object or process appended since is read at each call. A last line
    without its newline was never acknowledged: readers skip it, and the next ``append`` cuts it off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: list[dict[str, Any]] = []
        self._read = 0

    def entries(self) -> Sequence[dict[str, Any]]:
        """All complete entries; do not change the list.

        Raises:
            RunError: A complete line is not JSON.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._read:
            self._entries, self._read = [], 0
        if size == self._read:
            return self._entries
        with self.path.open("rb") as f:
            f.seek(self._read)
            data = f.read()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            self._entries += [json.loads(line) for line in whole.split(b"\n") if line]
        except ValueError:
            raise RunError(f"{self.path} is damaged: a line is not JSON; delete that line") from None
        self._read += len(whole)
        return self._entries

    def append(self, entries: Sequence[dict[str, Any]]) -> None:
        """Add entries; they are on disk when this returns."""
        if not entries:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.entries()
        data = "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in entries).encode()
        new = not self.path.exists()
        with self.path.open("ab") as f:
            f.truncate(self._read)
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        if new:
            sync_dir(self.path.parent)
