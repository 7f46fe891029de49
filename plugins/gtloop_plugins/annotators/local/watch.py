"""What the page knows of the run: read anew when its ledger has changed, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gtloop.errors import GtloopError
from gtloop.narration import sentence

if TYPE_CHECKING:
    from gtloop.interfaces import Form, Task
    from gtloop.opened import Run
    from gtloop.registry import Registry

logger = logging.getLogger(__name__)

EVERY_S = 2.0
EVENTS = 20


class View(NamedTuple):
    """The run as of the last look at it; ``status`` empty where there is no run to look at."""

    status: dict[str, Any]
    events: list[dict[str, str]]
    history: dict[str, list[Any]]

    @property
    def over(self) -> bool:
        """Whether the run asks for nothing more."""
        return self.status.get("state") in ("finished", "cancelled")


NOTHING = View({}, [], {"human": [], "machine": [], "at": []})


class Watch:
    """Looks at a run every two seconds, until it is stopped; ``view`` is what it saw.

    Args:
        root: The run's folder; None: there is no run, and never anything to see.
        changed: Told the form and task of the run where its settings have changed.
    """

    def __init__(self, root: Path | None, changed: Callable[[Form, Task], None]) -> None:
        self._root, self._changed = root, changed
        self.view = NOTHING
        self._seen: object = None
        self._settings: object = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="watch-run", daemon=True)

    def start(self) -> None:
        """Look once, then go on in the background."""
        if self._root is not None:
            self._look()
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _keep_looking(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        import gtloop
        from gtloop.ledgers import stamp
        from gtloop.registry import Registry

        assert self._root is not None
        try:
            seen = stamp(self._root)
            if seen == self._seen:
                return
            run, registry = gtloop.open(self._root), Registry.load()
            self.view = _view(run, registry)
            if self._settings not in (None, run.settings):
                plugins = run.plugins(registry)
                form = plugins.annotator.context.form
                assert form is not None
                self._changed(form, plugins.task)
            self._settings, self._seen = run.settings, seen
        except GtloopError as e:
            logger.warning("the run can't be read now: %s", e)
        except Exception:  # whatever it is: people go on labelling, and the next look may do
            logger.exception("the run can't be read now")


def _view(run: Run, registry: Registry) -> View:
    status = run.status(registry)
    human = machine = 0
    history: dict[str, list[Any]] = {"human": [], "machine": [], "at": []}
    last: deque[dict[str, str]] = deque(maxlen=EVENTS)
    for entry in run.events():
        if text := sentence(entry.event):
            last.append({"at": entry.at, "type": entry.event.type, "text": text})
        labels = getattr(entry.event, "labels", None)
        if labels is None:
            if not history["at"]:
                _add(history, 0, 0, entry.at)
            continue
        if entry.event.type == "looked":
            machine += labels.rows
        else:
            human += labels.rows
        _add(history, human, machine, entry.at)
    if human or machine:  # labels may have been withdrawn, or given twice: the last point is exact
        _add(history, status["items"]["human"], status["items"]["machine"], history["at"][-1])
    return View(status, list(reversed(last)), history)


def _add(history: dict[str, list[Any]], human: int, machine: int, at: str) -> None:
    for name, value in (("human", human), ("machine", machine), ("at", at)):
        history[name].append(value)
