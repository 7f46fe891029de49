"""Actors that hold one model ready, and an ordered stream of predictions through them.

Ray Data's ``map_batches`` takes a data set whose blocks are known from the start; gtloop's items come as a stream that
may be longer than memory, and are handed out here as actors become free. What is in flight is bounded: two blocks for
each actor and, behind a block that takes long, some that are done already.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gtloop.errors import GtloopError, PluginFault, RunError
from gtloop.interfaces import Predicted
from gtloop.records import Item

EACH = 2
"""Blocks that an actor has at a time: it decodes one while it predicts the other."""
AHEAD = 4
"""Blocks for each actor between the first that is not done and the last that was given out."""
TRIES = 3
"""Times that a block is given out, or an actor started in vain, before it is an error."""
CLOSE_S = 2.0
"""Seconds that actors have to tidy up."""
WAIT_S = 10.0
"""Seconds without any news after which it is said what is waited for."""


@dataclass(eq=False)
class _Block:
    items: Sequence[Item]
    tries: int = 0
    found: list[Predicted] | None = None


class _Asked(NamedTuple):
    actor: Any
    new: bool


class Crew:
    """Between ``least`` and ``most`` actors: more as long as all are busy, also in place of those that die.

    Args:
        hire: Starts an actor.
        least: Actors to start with.
        most: Actors at most.
        detector: The detector's name, for errors.
    """

    def __init__(self, hire: Callable[[], Any], least: int, most: int, detector: str) -> None:
        self._hire, self._least, self._most, self._detector = hire, min(least, most), most, detector
        self._ready: list[Any] = []
        self._asked: dict[Any, _Asked] = {}  # by what tells that the actor is there
        self._failed = 0

    def stop(self) -> None:
        """End all actors, whatever they do."""
        import ray

        actors = [*self._ready, *(asked.actor for asked in self._asked.values())]
        self._ready, self._asked = [], {}
        if not ray.is_initialized():
            return
        if actors:
            ray.wait([actor.close.remote() for actor in actors], num_returns=len(actors), timeout=CLOSE_S)
        for actor in actors:
            ray.kill(actor)

    def map(self, blocks: Iterator[Sequence[Item]], waits: Callable[[], None]) -> Iterator[list[Predicted]]:
        """Predictions of each block, in order.

        ``waits`` is called after every ten seconds in which nothing came.

        Raises:
            GtloopError: What the detector raised; or actors die, time and again.
        """
        order: deque[_Block] = deque()
        again: deque[_Block] = deque()
        running: dict[Any, tuple[_Block, Any]] = {}
        coming = next(blocks, None)
        self._ask()
        while order or coming is not None:
            while (actor := self._free(running)) is not None:
                if again:
                    block = again.popleft()
                elif coming is not None and len(order) < AHEAD * len(self._ready):
                    block, coming = _Block(coming), next(blocks, None)
                    order.append(block)
                else:
                    break
                running[actor.predict.remote(block.items)] = block, actor
            if order and order[0].found is not None:
                yield order.popleft().found or []
                continue
            if again or coming is not None:
                self._grow()
            self._hear(running, again, waits)

    def _free(self, running: dict[Any, tuple[_Block, Any]]) -> Any:
        """The ready actor with the fewest blocks, if it can take one."""
        busy = Counter(id(actor) for _, actor in running.values())
        freest = min(self._ready, key=lambda actor: busy[id(actor)], default=None)
        return freest if freest is not None and busy[id(freest)] < EACH else None

    def _grow(self) -> None:
        """There is more work than the actors can take: as many again, once it is known who is there."""
        if not self._asked:
            there = len(self._ready)
            wanted = min(max(self._least, 2 * there), self._most)
            for _ in range(wanted - there):
                actor = self._hire()
                self._asked[actor.ready.remote()] = _Asked(actor, new=True)

    def _ask(self) -> None:
        """Nobody gets a block before it is known that he lives: those of a lost machine die together."""
        for actor in self._ready:
            self._asked[actor.alive.remote()] = _Asked(actor, new=False)
        self._ready = []

    def _hear(self, running: dict[Any, tuple[_Block, Any]], again: deque[_Block], waits: Callable[[], None]) -> None:
        """Wait for an actor or a block, and take in what became of it."""
        import ray

        done, _ = ray.wait([*running, *self._asked], num_returns=1, timeout=WAIT_S)
        if not done:
            waits()
            return
        ref = done[0]
        if ref in self._asked:
            self._answered(ref, self._asked.pop(ref))
            return
        block, actor = running.pop(ref)
        try:
            block.found = got(ref)
        except ray.exceptions.RayError as e:
            self._drop(actor)
            block.tries += 1
            if block.tries == TRIES:
                raise PluginFault(
                    f"detector {self._detector!r}: {TRIES} workers died as they predicted {block.items[0].name} to "
                    f"{block.items[-1].name} ({brief(e)}); where memory is short, lower executors.ray.batch_size"
                ) from e
            again.append(block)

    def _answered(self, ref: Any, asked: _Asked) -> None:
        import ray

        try:
            got(ref)
        except ray.exceptions.RayError as e:
            self._failed += asked.new
            if self._failed == TRIES:
                raise RunError(
                    f"executor 'ray': {TRIES} workers died as they started ({brief(e)}); install gtloop and the "
                    "packages of the detector on every machine of the cluster"
                ) from e
            return
        self._failed = 0
        self._ready.append(asked.actor)

    def _drop(self, actor: Any) -> None:
        import ray

        if actor in self._ready:
            self._ready.remove(actor)
            ray.kill(actor)
            self._ask()


def got(ref: Any) -> Any:
    """What a task returned.

    Raises:
        GtloopError: What the task raised.
        RayError: Its process, its machine or its result is gone.
    """
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as e:
        if isinstance(e.cause, GtloopError):
            raise e.cause from e
        raise PluginFault(f"executor 'ray': a worker raised {brief(e.cause)}") from e


def brief(error: BaseException) -> str:
    """An error of Ray's in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
