"""Executor ``ray``: fits and predicts in processes of Ray's, on this machine or on a cluster.

Models travel as bytes, so that the machines need share no folder; the images have to be where every machine finds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from gtloop.errors import PluginFault, Unsupported
from gtloop.interfaces import Detector, Example, Executor, Options, Predicted, Progress, quiet
from gtloop.records import Item
from gtloop_plugins.executors.ray import cluster, fitting, parcels
from gtloop_plugins.executors.ray.crew import EACH, TRIES, Crew
from gtloop_plugins.executors.ray.keeper import KEEPER
from gtloop_plugins.executors.ray.work import Job, Step


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
    fit_workers: int = Field(
        1, ge=1, description="processes of a fit that share each of its batches, by Ray Train; not every detector can"
    )
    fit_cpus: float = Field(
        0.0, ge=0, description="processors of each process of a fit; 0: as many as the machines have for all of them"
    )
    batch_size: int = Field(0, ge=0, description="images predicted at once; 0: what the detector suggests")


class Ray(Executor):
    """Predicts in actors, fits in a task; what dies with a process or a machine is done again."""

    name = "ray"
    summary = "fits and predicts in processes of Ray's, here or on a cluster"
    Options = RayOptions
    requires = ("ray",)
    extra = "gtloop[ray]"

    options: RayOptions

    def check(self, detector: Detector) -> None:
        """Whether the cluster answers, and a fit can be shared where it is to be.

        Raises:
            Unsupported: The detector can't fit in several processes.
            MissingExtra: Ray Train is not installed.
            ConfigError: The address is none.
            Unreachable: No cluster is there.
        """
        if self.options.fit_workers > 1 and detector.trainable:
            self._check_shares(detector)
        cluster.check(cluster.address_of(self.options.address))

    def _check_shares(self, detector: Detector) -> None:
        if "data-parallel" not in detector.gives:
            raise Unsupported(
                f"detector {detector.name!r} can't fit in several processes: leave executors.ray.fit_workers out"
            )
        fitting.check_together()

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
        if self.options.fit_workers > 1:
            self._check_shares(detector)
        folder = cluster.join(cluster.address_of(self.options.address))
        KEEPER.let_go()
        arguments = {"seed": seed, "effort": effort}
        job = Job(parcels.dumps(detector), detector.name, list(examples), parcels.pack(init), arguments, folder)
        for left in reversed(range(TRIES)):
            try:
                with closing(self._steps(job)) as steps:
                    for step in steps:
                        if step.kind == "done":
                            figures, model = step.value
                            parcels.unpack(model, workdir)
                            return dict(figures)
                        progress(*step.value)
            except fitting.Died as e:
                if not left:
                    raise PluginFault(f"detector {detector.name!r}: {TRIES} workers died as they fitted ({e})") from e
        raise PluginFault(f"detector {detector.name!r}: its fit ended without a model")

    def _steps(self, job: Job) -> Generator[Step, None, None]:
        """A fit, from its beginning."""
        workers, gpus = self.options.fit_workers, self._gpus()
        room = fitting.Room(self.options.fit_cpus or _most_cpus(workers, gpus), gpus)
        waits = Step("progress", ("fit", 0, None, self._waits(room.cpus, workers)))
        if workers > 1:
            return fitting.together(job, room, waits, workers)
        return fitting.alone(job, room, waits)

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

    def _waits(self, cpus: float, workers: int = 1) -> str:
        what = "a process" if workers == 1 else f"{workers} processes, each"
        return f"waiting for Ray, for {what} with {cpus:g} CPU and {self._gpus():g} GPU"

    def _gpus(self) -> float:
        if self.options.gpus is not None:
            return self.options.gpus
        return 1.0 if _largest("GPU") else 0.0


def _largest(resource: str) -> float:
    """The most that one machine of the cluster has of ``CPU`` or ``GPU``."""
    import ray

    return max((n["Resources"].get(resource, 0.0) for n in ray.nodes() if n["Alive"]), default=0.0)


def _most_cpus(workers: int, gpus: float) -> float:
    """The most processors that each of ``workers`` processes with so many GPUs can have, at least 1."""
    import ray

    machines = [(int(n["Resources"].get("CPU", 0)), n["Resources"].get("GPU", 0.0)) for n in ray.nodes() if n["Alive"]]

    def hold(cpus: int) -> float:
        return sum(min(c // cpus, g // gpus if gpus else workers) for c, g in machines)

    able = [cpus for cpus in range(1, max((c for c, _ in machines), default=0) + 1) if hold(cpus) >= workers]
    return float(max(able, default=1))
