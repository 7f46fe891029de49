"""The local page under load: 50 annotators at a real server, with and without a model training beside it.

    python benchmarks/serve.py --people 50 --seconds 60

Everything is on the loopback interface, bounded in count and time. Each annotator is an HTTP client with a connection
of its own that is kept alive, in one of ten processes; it asks for an image, fetches it, thinks for 0.5 to 1.5 s
(uniform) and submits two boxes, until the time is over; an owner's dashboard asks for its figures every 2 s. Every
image wants three answers. The training is a fit of the detector ``torchvision`` with two threads in a process of its
own, that starts before the first request and goes on until after the last. Prints a Markdown table. ``lost`` and
``twice`` compare what the server acknowledged with what is in its database afterwards; ``wake`` is how late a process
that does nothing wakes from a sleep meanwhile, for a machine that is busy with other work makes every time longer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from gtloop.interfaces import Context, Example
from gtloop.records import Item, Request
from gtloop_plugins.annotators.local import Local
from gtloop_plugins.tasks.bbox import BBox

SIZE = (640, 480)
IMAGES = 200
ANSWERS = 3
PROCESSES = 10
CLASSES = ("crate", "drum")
BOXES = [
    {"category": "crate", "xyxy": [10.0, 20.0, 200.5, 180.0]},
    {"category": "drum", "xyxy": [300.0, 40.0, 500.0, 400.0]},
]


def make_items(folder: Path) -> list[Item]:
    """Photographs of a sort: smooth noise, about 60 kB of JPEG each."""
    from PIL import Image

    folder.mkdir(parents=True)
    items = []
    for row in range(IMAGES):
        small = np.random.default_rng(row).integers(0, 255, (SIZE[1] // 6, SIZE[0] // 6, 3), np.uint8)
        path = folder / f"{row:04d}.jpg"
        Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=88)
        items.append(Item(row=row, id=f"i{row}", name=path.name, uri=str(path), width=SIZE[0], height=SIZE[1]))
    return items


def make_desk(folder: Path, people: int) -> Local:
    """The annotator on a folder."""
    task = BBox(BBox.Options(), Context(categories=CLASSES))
    context = Context(categories=CLASSES, workdir=folder / "desk", form=task.form(), task=task)
    return Local(Local.Options(people=tuple(f"p{n}" for n in range(people))), context)


class Browser:
    """One person's connection, session and measured times (seconds) by kind of request."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.times: dict[str, list[float]] = {}
        self._headers: dict[str, str] = {}
        form = urlencode({"token": token})
        response, _ = self._send("join", "POST", "/join", form, {"Content-Type": "application/x-www-form-urlencoded"})
        self._headers = {"Cookie": str(response.getheader("set-cookie")).partition(";")[0]}
        _, page = self._send("page", "GET", "/")
        found = re.search(rb'name="csrf" content="(\w+)"', page)
        assert found is not None
        self._headers |= {"X-CSRF-Token": found[1].decode(), "Content-Type": "application/json"}

    def get(self, kind: str, path: str) -> bytes:
        return self._send(kind, "GET", path)[1]

    def post(self, kind: str, path: str, body: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._send(kind, "POST", path, json.dumps(body))[1])
        return found

    def _send(
        self, kind: str, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        started = time.perf_counter()
        self._connection.request(method, path, body, headers or self._headers)
        response = self._connection.getresponse()
        data = response.read()
        self.times.setdefault(kind, []).append(time.perf_counter() - started)
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {data[:200]!r}")
        return response, data


def label(port: int, name: str, token: str, until: float, found: list[dict[str, Any]]) -> None:
    """What one annotator does until it is time."""
    rng = random.Random(name)
    time.sleep(rng.random())  # not all at once
    browser = Browser(port, token)
    done = []
    while time.time() < until:
        said = browser.post("next", "/api/next", {"holding": []})
        if said["state"] != "task":
            raise SystemExit(f"nothing to do: {said}; ask for more with --images")
        task = said["task"]
        browser.get("image", task["image"])
        think = rng.uniform(0.5, 1.5)
        time.sleep(think)
        body = {"task": task["id"], "outcome": "label", "payload": {"boxes": BOXES}, "active_seconds": think}
        browser.post("submit", "/api/submit", body)
        done.append(task["id"])
    found.append({"times": browser.times, "done": done})


def people(port: int, links: list[tuple[str, str]], until: float, results: Any) -> None:
    """Some annotators, each in a thread, in this process."""
    found: list[dict[str, Any]] = []
    threads = [threading.Thread(target=label, args=(port, n, token, until, found)) for n, token in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(found)


def owner(port: int, token: str, until: float) -> None:
    """A dashboard that is open."""
    browser = Browser(port, token)
    while time.time() < until:
        browser.get("dashboard", "/api/dashboard")
        time.sleep(2)


def train(folder: Path) -> None:
    """Fit the detector ``torchvision`` over and over, until killed."""
    import torch

    from gtloop_plugins.detectors.torchvision import TorchvisionDetector

    torch.set_num_threads(2)
    task = BBox(BBox.Options(), Context(categories=CLASSES))
    context = Context(categories=CLASSES, workdir=folder / "detector", form=task.form(), task=task)
    detector = TorchvisionDetector(TorchvisionDetector.Options(device="cpu"), context)
    paths = sorted((folder / "images").glob("*.jpg"))
    payload = {"boxes": BOXES}
    examples = [
        Example(Item(row=n, id=f"i{n}", name=p.name, uri=str(p), width=SIZE[0], height=SIZE[1]), payload)
        for n, p in enumerate(paths)
    ]
    workdir = folder / "fit"
    workdir.mkdir(exist_ok=True)
    print("training", flush=True)
    while True:
        detector.fit(examples, workdir, seed=0)


@contextmanager
def process(mode: str, folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """This program as a server or a training, until the block ends."""
    command = [sys.executable, __file__, "--as", mode, "--folder", str(folder), *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM if mode == "server" else signal.SIGKILL)


def measure(folder: Path, n: int, seconds: float, training: bool) -> dict[str, Any]:
    """One run: the row of the table."""
    items = make_items(folder / "images")
    desk = make_desk(folder, n)
    wanted = int(n * seconds / ANSWERS * 1.3) + n
    desk.submit([Request(id=f"r{k}", item=items[k % IMAGES], answers=ANSWERS) for k in range(wanted)])
    with process("server", folder, "--people", str(n)) as server:
        links: dict[str, str] = {}
        while "dashboard" not in links:
            assert server.stdout is not None
            who, _, link = server.stdout.readline().strip().partition(": ")
            links[who] = link.rsplit("/", 1)[1]
            port = int(link.split(":")[2].split("/")[0])
        if training:
            with process("training", folder) as beside:
                assert beside.stdout is not None
                beside.stdout.readline()
                time.sleep(15)  # until it is in its loop
                found, late = load(port, links, seconds)
        else:
            found, late = load(port, links, seconds)
    return {**summary(found, seconds), "wake p99 ms": late, **books(desk, found)}


def load(port: int, links: dict[str, str], seconds: float) -> tuple[list[dict[str, Any]], float]:
    """All annotators at once: what each measured and was acknowledged; and the machine's ``lateness``."""
    until = time.time() + seconds
    names = [pair for pair in links.items() if pair[0] != "dashboard"]
    results: Any = multiprocessing.Queue()
    watching = multiprocessing.Process(target=owner, args=(port, links["dashboard"], until))
    working = [
        multiprocessing.Process(target=people, args=(port, names[k::PROCESSES], until, results))
        for k in range(PROCESSES)
    ]
    for each in (watching, *working):
        each.start()
    late = lateness(until)
    found = [person for _ in working for person in results.get(timeout=seconds + 120)]
    for each in (watching, *working):
        each.join()
    if len(found) != len(names):
        raise SystemExit(f"{len(names) - len(found)} annotators broke off")
    return found, late


def lateness(until: float) -> float:
    """99th percentile, in ms, of how late this process wakes from a sleep: what the machine itself makes of a wait."""
    late = []
    while time.time() < until:
        started = time.perf_counter()
        time.sleep(0.01)
        late.append(1000 * (time.perf_counter() - started) - 10)
    return round(float(np.percentile(late, 99)), 1)


def summary(found: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Answers a second, and milliseconds."""
    row: dict[str, Any] = {"answers": sum(len(p["done"]) for p in found)}
    row["per second"] = round(row["answers"] / seconds, 1)
    for kind in ("next", "submit", "image"):
        times = 1000 * np.concatenate([p["times"][kind] for p in found])
        for q in (50, 99):
            row[f"{kind} p{q} ms"] = round(float(np.percentile(times, q)), 1)
        row[f"{kind} max ms"] = round(float(times.max()), 1)
    return row


def books(desk: Local, found: list[dict[str, Any]]) -> dict[str, int]:
    """What was acknowledged against what a driver that starts afresh collects, and what the database holds."""
    acknowledged = [task for person in found for task in person["done"]]
    answers, cursor = [], ""
    while (got := desk.collect(cursor, 0)).answers:
        answers, cursor = [*answers, *got.answers], got.cursor
    with desk._database.read() as c:
        query = "SELECT l.task FROM answer a JOIN lease l ON l.request = a.request AND l.person = a.worker"
        kept = [task for (task,) in c.exec_driver_sql(query)]
        over = c.exec_driver_sql("SELECT count(*) FROM request WHERE got > want").scalar_one()
    pairs = {(a.request, a.worker) for a in answers}
    return {
        "lost": len(set(acknowledged) - set(kept)),
        "twice": len(answers) - len(pairs) + len(kept) - len(set(kept)) + over,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", choices=["idle", "training"], help="one of the two rows")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--as", dest="mode", choices=["server", "training"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mode == "server":
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        desk = make_desk(args.folder, args.people)
        desk.serve(None, host="127.0.0.1", port=port, ready=lambda text: print(text, flush=True))
        return
    if args.mode == "training":
        train(args.folder)
    if not 1 <= args.people <= 200 or not 1 <= args.seconds <= 300:
        parser.error("at most 200 people and 300 seconds")
    for name in [args.only] if args.only else ["idle", "training"]:
        with tempfile.TemporaryDirectory(prefix="gtloop-serve-") as folder:
            row = {"beside it": name, **measure(Path(folder), args.people, args.seconds, name == "training")}
        if name == "idle" or args.only:
            print("| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


if __name__ == "__main__":
    main()
