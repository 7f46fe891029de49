"""An annotator's page, in a process of its own: ``gtloop serve RUN``, and what ``gtloop run`` starts beside the loop.

A page that outlives a crash of the loop, and a loop that outlives one of the page: they share nothing but files.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gtloop.errors import RunError, Unsupported, blame
from gtloop.interfaces import Annotator
from gtloop.ledgers import address_of
from gtloop.locks import Lock, held

if TYPE_CHECKING:
    from gtloop.registry import Registry

log = logging.getLogger("gtloop.page")
READY_S = 60.0
"""How long a page may take to come up."""
STOP_S = 10.0
"""How long it may take to stop."""
LOCK = "page.lock"


def serve_run(root: Path, registry: Registry, host: str | None, port: int | None, *, child: bool = False) -> None:
    """Let people in until the process is interrupted.

    Args:
        root: Run folder.
        registry: Where its annotator comes from.
        host: Address to listen at; None: the annotator's choice.
        port: As ``host``.
        child: Say on standard output, in one line of JSON, where people find the page, and end with standard input.

    Raises:
        Unsupported: The run's annotator has no page.
        Busy: It is served already, and the annotator can't serve it twice.
    """
    import gtloop

    run = gtloop.open(root)
    annotator = run.plugins(registry).annotator
    if "serve" not in annotator.gives:
        able = [p.cls.name for p in registry.providers("annotator") if "serve" in p.cls.gives]
        raise Unsupported(
            f"annotator {annotator.name!r} has no page to serve. Annotators that have one: {', '.join(able) or 'none'}"
        )
    with _lock(run.root, annotator, child):
        if child:
            _end_with_stdin()
        with blame("annotator", annotator.name, "serve"):
            annotator.serve(run, host=host, port=port, ready=_tell_parent if child else _tell)


def _lock(root: Path, annotator: Annotator, child: bool) -> Lock:
    """Of who serves: alone, unless the ledger is in a server and the annotator keeps its own things there, too."""
    many = "serve-many" in annotator.gives and address_of(root) is not None
    if many and child:
        with Lock(root, LOCK, "served"):  # who drives opens no page where there is one
            pass
    return Lock(root, LOCK, "served", shared=many)


def _tell(text: str) -> None:
    print(text, flush=True)


def _tell_parent(text: str) -> None:
    print(json.dumps({"ready": text}), flush=True)


def _end_with_stdin() -> None:
    """Stop this process when whoever started it is gone, killed or not."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def page_beside(root: Path, annotator: Annotator, blocked: Sequence[str] = ()) -> Iterator[Page | None]:
    """Serve the annotator's page for as long as the block lasts; None where it has none.

    Raises:
        RunError: The page does not come up; with what it said.
    """
    if "serve" not in annotator.gives:
        yield None
        return
    page = Page(root, blocked)
    try:
        page.start()
        yield page
    finally:
        page.stop()


class Page:
    """The process that serves a page; started anew where it was killed."""

    def __init__(self, root: Path, blocked: Sequence[str] = ()) -> None:
        self._root = root
        block = [part for name in blocked for part in ("--block", name)]
        self._command = [sys.executable, "-m", "gtloop", *block, "serve", str(root), "--child"]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until people can come; where somebody else serves the run already, leave it to them."""
        # a group of its own: Ctrl-C reaches the driver, which then stops the page in its own time
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        timer = threading.Timer(READY_S, self._process.kill)
        timer.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        timer.cancel()
        if line:
            threading.Thread(target=self._pass_on, args=(self._process,), daemon=True).start()
            for text in str(json.loads(line)["ready"]).splitlines():
                log.info("%s", text)
            return
        _, said = self._process.communicate()
        code, self._process = self._process.returncode, None
        last = said.strip().splitlines()[-1:] or [f"it ended with code {code}"]
        if "is being served" in last[0]:
            log.info("%s", last[0].removeprefix("error: "))
            return
        raise RunError(f"the page can't be served: {last[0].removeprefix('error: ')}")

    def _pass_on(self, process: subprocess.Popen[str]) -> None:
        """Show what the page complains about."""
        assert process.stderr is not None
        for line in process.stderr:
            log.warning("page: %s", line.rstrip())

    def keep(self) -> None:
        """Start it again, if it has ended, and where those who served the run have left it."""
        if self._process is None:
            if not held(self._root, LOCK):
                self.start()
        elif self._process.poll() is not None:
            log.warning("the page ended with code %s; it is started again", self._process.returncode)
            self.start()

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
