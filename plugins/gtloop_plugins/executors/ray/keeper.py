"""The actors that this process has: those of one model, kept for a while in case that there is more to predict."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

from gtloop_plugins.executors.ray.crew import Crew

KEEP_S = 30.0
"""Seconds that actors hold their processors without having anything to do."""


class Keeper:
    """Holds at most one crew."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._crew: Crew | None = None
        self._key = ""
        self._timer: threading.Timer | None = None

    def crew(self, key: str, make: Callable[[], Crew]) -> Crew:
        """The crew of ``key``: the one that is held, or one made in its place."""
        with self._lock:
            self._cancel()
            if self._crew is None or self._key != key:
                self.let_go()
                self._crew, self._key = make(), key
                atexit.unregister(self.let_go)
                atexit.register(self.let_go)  # before what ends Ray, which was registered earlier
            return self._crew

    def keep(self) -> None:
        """There is no more to do for now."""
        with self._lock:
            self._cancel()
            self._timer = threading.Timer(KEEP_S, self._over)
            self._timer.daemon = True
            self._timer.start()

    def let_go(self) -> None:
        """End the actors, whatever they do: a fit or another model needs their processors."""
        with self._lock:
            self._cancel()
            crew, self._crew = self._crew, None
            if crew is not None:
                crew.stop()

    def _over(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # not one that was cancelled too late
                self.let_go()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


KEEPER = Keeper()
"""Of this process: Ray is there once as well."""
