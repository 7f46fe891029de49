"""Open Images as it is published, small: its tables, its images, and a server that has them."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from PIL import Image

BIRD, OWL, EAGLE, FEATHER, CAT = "/m/015p6", "/m/09d5_", "/m/09csl", "/m/0feather", "/m/01yrx"
TREE = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [
        {
            "LabelName": BIRD,
            "Subcategory": [{"LabelName": OWL}, {"LabelName": EAGLE}],
            "Part": [{"LabelName": FEATHER}],
        },
        {"LabelName": CAT},
    ],
}
NAMES = {"Bird": BIRD, "Owl": OWL, "Eagle": EAGLE, "Feather": FEATHER, "Cat": CAT}
HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
ABOUT = "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,Rotation"
SIZE = (80, 60)
GONE, TORN = f"{5:016x}", f"{8:016x}"


class Published:
    """The files, what was asked for, and what goes wrong: ``fails`` maps a path to how often it answers 503."""

    def __init__(self, images: int = 20) -> None:
        self.ids = [f"{n:016x}" for n in range(images)]
        rows, self.boxes = [HEAD], Counter[str]()
        for turn in (0, 1):  # the rows of an image do not stand together
            for n, key in enumerate(self.ids):
                kind = (BIRD, OWL, EAGLE, CAT)[n % 4] if turn == 0 else (OWL, FEATHER)[n % 2]
                rows.append(f"{key},xclick,{kind},1,{0.1 + turn / 4},0.6,0.25,0.75,0,0,0,0,0")
                self.boxes[key] += kind in (BIRD, OWL, EAGLE)
        rows.append(rows[1])  # a box that stands there twice
        about = [
            ABOUT,
            *(f'{k},test,http://o/{k},http://l/{k},by/2.0,http://p,"Ann, B","A\u2028title",0.0' for k in self.ids),
        ]
        png = io.BytesIO()
        Image.new("RGB", SIZE, (90, 120, 60)).save(png, "JPEG")
        self.files: dict[str, bytes] = {
            "/a/class-descriptions-boxable.csv": "".join(f"{m},{n}\n" for n, m in NAMES.items()).encode(),
            "/a/bbox_labels_600_hierarchy.json": json.dumps(TREE).encode(),
            "/a/test/test-annotations-bbox.csv": ("\n".join(rows) + "\n").encode(),
            "/a/test/test-images-with-rotation.csv": ("\n".join(about) + "\n").encode(),
            **{f"/i/test/{key}.jpg": png.getvalue() for key in self.ids if key != GONE},
        }
        self.files[f"/i/test/{TORN}.jpg"] = png.getvalue()[:-200]
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.fails: Counter[str] = Counter()
        self.known_ranges = True

    def write(self, folder: Path) -> None:
        """The same as files."""
        for path, data in self.files.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    published: Published

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self.published.asked[self.path] += 1
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        p, data = self.published, self.published.files.get(self.path)
        status = 200 if data is not None else 404
        if body and p.fails[self.path] > 0:
            p.fails[self.path] -= 1
            status, data = 503, b"busy"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and data is not None and status == 200 and p.known_ranges:
            p.ranges.append(self.path)
            status, data = 206, data[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(data or b"")))
        if p.known_ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            self.wfile.write(data or b"")

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def served(made: Published) -> Iterator[str]:
    """A server that has what is published; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Handler,), {"published": made}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
