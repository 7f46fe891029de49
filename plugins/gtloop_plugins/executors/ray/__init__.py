"""Executor ``ray``: fits and predicts in processes of Ray's, on this machine or on a cluster.

Models travel as bytes, so that the machines need share no folder; the images have to be where every machine finds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from gtloop.errors import PluginFault
from gtloop.interfaces import Detector, Example, Executor, Options, Predicted, Progress, quiet
from gtloop.records import Item
from gtloop_plugins.executors.ray import cluster, parcels
from gtloop_plugins.executors.ray.crew import EACH, TRIES, WAIT_S, Crew, brief, got
from gtloop_plugins.executors.ray.keeper import KEEPER


class RayOptions(Options):
    """Options of ``ray``."""

    address: str = Field(
        "",
        description="host:port of a cluster's head, or auto: the one that this machine belongs to; "
        "empty: RAY_ADDRESS, else Ray on this machine only",
    )
    min_actors: int = Field(1, ge=1, description="processes that predict, to start with")
    max_actors: int = Field(0, ge=0, description="at most; 0: as many as the cluster has room for at first")
    cpus: float = Field(1.0, gt=0, description="processors of each; so many threads decode in it")
    gpus: float | None = Field(
        None, ge=0, description="GPUs of each, and of a fit; none: one where the cluster has any, else 0"
    )
    fit_cpus: float = Field(0.0, ge=0, description="processors of a fit; 0: all of the largest machine")
    batch_size: int = Field(0, ge=0, description="images predicted at once; 0: what the detector suggests")


class Ray(Executor):
    """Predicts in actors, fits in a task; what dies with a process or a machine is done again."""

    name = "ray"
    summary = "fits and predicts in processes of Ray's, here or on a cluster"
    Options = RayOptions
    requires = ("ray",)
    extra = "gtloop[ray]"

    options: RayOptions

    def check(self) -> None:
        """Whether the cluster answers."""
        cluster.check(cluster.address_of(self.options.address))

    def fit(
        self,
        detector: Detector,
        examples: Sequence[Example],
        workdir: Path,
        *,
        seed: int,
        init: Path | None = None,
        effort: float = 1.0,
        progress: Progress = quiet,
    ) -> dict[str, float]:
        """See ``Executor.fit``; the model comes back as bytes and is written to ``workdir`` here."""
        import ray

        from gtloop_plugins.executors.ray import work

        folder = cluster.join(cluster.address_of(self.options.address))
        KEEPER.let_go()
        cpus = self.options.fit_cpus or _largest("CPU")
        task = ray.remote(work.fit).options(
            num_cpus=cpus,
            num_gpus=self._gpus(),
            num_returns="streaming",
            max_retries=0,  # here, as a task that starts anew counts its steps anew
        )
        arguments = {"seed": seed, "effort": effort}
        given = parcels.dumps(detector), detector.name, list(examples), parcels.pack(init), arguments, folder
        for left in reversed(range(TRIES)):
            try:
                steps = task.remote(*given)
                while not ray.wait([steps], timeout=WAIT_S)[0]:
                    progress("fit", 0, None, self._waits(cpus))
                for ref in steps:
                    step = got(ref)
                    if step.kind == "done":
                        figures, model = step.value
                        parcels.unpack(model, workdir)
                        return dict(figures)
                    progress(*step.value)
            except ray.exceptions.RayError as e:
                if not left:
                    raise PluginFault(
                        f"detector {detector.name!r}: {TRIES} workers died as they fitted ({brief(e)})"
                    ) from e
        raise PluginFault(f"detector {detector.name!r}: its fit ended without a model")

    def predict(
        self, detector: Detector, model: Path | None, items: Iterable[Item], progress: Progress = quiet
    ) -> Iterator[Predicted]:
        """Raises PluginFault naming the detector where it breaks; an unreadable image never ends the stream."""
        stream = iter(items)
        size = self.options.batch_size or detector.batch_size
        first = list(islice(stream, size))
        if not first:
            return
        crew = self._crew(detector, model, cluster.join(cluster.address_of(self.options.address)))
        done = 0

        def waits() -> None:
            progress("predict", done, None, self._waits(self.options.cpus))

        def blocks() -> Iterator[list[Item]]:
            yield first
            while block := list(islice(stream, size)):
                yield block

        try:
            for found in crew.map(blocks(), waits):
                yield from found
                done += len(found)
                progress("predict", done, None)
        except BaseException:
            KEEPER.let_go()  # its actors are still at work, for nobody
            raise
        KEEPER.keep()

    def _crew(self, detector: Detector, model: Path | None, folder: str | None) -> Crew:
        """Actors with this model; those of the last call where it is the same."""
        import ray

        from gtloop_plugins.executors.ray.work import Worker

        o, gpus = self.options, self._gpus()
        given, packed = parcels.dumps(detector), parcels.pack(model)

        def make() -> Crew:
            total = ray.cluster_resources()
            room = total.get("GPU", 0) / gpus if gpus else total.get("CPU", 0) / o.cpus
            actor: Any = ray.remote(Worker).options(num_cpus=o.cpus, num_gpus=gpus, max_concurrency=EACH + 1)
            shared = ray.put(given), ray.put(packed)
            return Crew(
                lambda: actor.remote(shared[0], detector.name, shared[1], max(1, round(o.cpus)), folder),
                o.min_actors,
                o.max_actors or max(o.min_actors, int(room)),
                detector.name,
            )

        key = hashlib.sha256(given + (packed or b"") + o.model_dump_json().encode()).hexdigest()
        return KEEPER.crew(key, make)

    def _waits(self, cpus: float) -> str:
        return f"waiting for Ray, for a process with {cpus:g} CPU and {self._gpus():g} GPU"

    def _gpus(self) -> float:
        if self.options.gpus is not None:
            return self.options.gpus
        return 1.0 if _largest("GPU") else 0.0


def _largest(resource: str) -> float:
    """The most that one machine of the cluster has of ``CPU`` or ``GPU``."""
    import ray

    return max((n["Resources"].get(resource, 0.0) for n in ray.nodes() if n["Alive"]), default=0.0)
