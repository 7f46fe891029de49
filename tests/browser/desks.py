"""Desks for browser tests: images, requests, a server in a process of its own, and what people answered."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from ports import free_port
from serve_desk import build

from gtloop.images import header
from gtloop.records import Answer, Closed, Item, Request

PATIENCE_S = 60.0


def paint(folder: Path, n: int, size: tuple[int, int] = (320, 240)) -> list[Path]:
    """Images with one rectangle each, at a place of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(n):
        image = Image.new("RGB", size, (40 + 9 * i % 90, 70, 110))
        x, y = 30 + 23 * i % (size[0] // 2), 20 + 17 * i % (size[1] // 2)
        ImageDraw.Draw(image).rectangle((x, y, x + size[0] // 4, y + size[1] // 4), fill=(230, 190, 60))
        path = folder / f"picture-{i}.png"
        image.save(path)
        paths.append(path)
    return paths


class Desk:
    """One folder with a ``Local`` here (the driver) and, once ``serve`` is called, one in another process."""

    def __init__(self, folder: Path, **spec: Any) -> None:
        options = {"people": ["Anna", "Ben"], "reviewers": ["Rita"], "port": free_port(), **spec.pop("options", {})}
        self.spec = {"folder": str(folder / "desk"), "task": "", "form": None, "run": None, **spec, "options": options}
        self.folder = folder
        self.local = build(self.spec)
        self.links: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.closed: dict[str, Closed] = {}
        self._cursor = ""
        self._server: subprocess.Popen[str] | None = None

    def submit(
        self, paths: Sequence[Path], proposal: Callable[[Path], Any] = lambda path: None, **request: Any
    ) -> None:
        """Ask for every image."""
        requests = []
        for path in paths:
            head = header(str(path))
            item = Item(row=len(requests), id=f"item-{path.stem}", name=path.name, uri=str(path), width=head.width,
                        height=head.height, orientation=head.orientation)  # fmt: skip
            key = f"{request.get('mode', 'draw')}-{path.stem}"
            requests.append(Request(id=key, item=item, proposal=proposal(path), **{"answers": 1, **request}))
        self.local.submit(requests)

    def serve(self) -> None:
        """Start the server; returns once people can come."""
        path = self.folder / "spec.json"
        path.write_text(json.dumps(self.spec))
        command = [sys.executable, str(Path(__file__).with_name("serve_desk.py")), str(path)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        said = ""
        for line in self._server.stdout:
            if line.strip() == "ready":
                break
            said += line
        self.links = dict(re.findall(r"^(.+): (http\S+)$", said, re.M))
        assert self.links, f"the server did not start: {said}"

    def stop(self) -> None:
        """End the server, as a power cut would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=20)
            self._server = None

    def collect(self) -> list[Answer]:
        """All answers so far, in the order in which they came."""
        got = self.local.collect(self._cursor, 0.0)
        self._cursor = got.cursor
        self.answers.update((a.id, a) for a in got.answers)
        self.closed.update((c.request, c) for c in got.closed)
        return list(self.answers.values())

    def wait(self, n: int) -> list[Answer]:
        """The answers, once there are ``n``."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.collect()) < n:
            assert time.monotonic() < deadline, f"{len(self.answers)} of {n} answers came"
            time.sleep(0.05)
        return list(self.answers.values())

    def payloads(self, n: int) -> dict[str, Any]:
        """Request to payload, once there are ``n`` answers of one each."""
        return {a.request: a.payload for a in self.wait(n)}
