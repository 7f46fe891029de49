"""A fit in one process of Ray's, or in several at once, as the steps that it tells of."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Generator
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING

from gtloop.errors import GtloopError, MissingExtra
from gtloop_plugins.executors.ray.crew import WAIT_S, brief, got
from gtloop_plugins.executors.ray.work import Job, Step, fit, member

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue


class Died(Exception):
    """A process or a machine of the fit is gone."""


@dataclass(frozen=True)
class Room:
    """What each process of a fit gets: processors, and GPUs."""

    cpus: float
    gpus: float


def alone(job: Job, room: Room, waits: Step) -> Generator[Step, None, None]:
    """Fit in one process.

    Args:
        job: What to fit.
        room: Of the process.
        waits: The step that says what is waited for.

    Raises:
        Died: The process is gone.
        GtloopError: What the detector raised.
    """
    import ray

    task = ray.remote(fit).options(
        num_cpus=room.cpus,
        num_gpus=room.gpus,
        num_returns="streaming",
        max_retries=0,  # the caller's to do, as a task that starts anew counts its steps anew
    )
    try:
        steps = task.remote(job)
        while not ray.wait([steps], timeout=WAIT_S)[0]:
            yield waits
        for ref in steps:
            yield got(ref)
    except ray.exceptions.RayError as e:
        raise Died(brief(e)) from e


def check_together() -> None:
    """Whether Ray Train is installed.

    Raises:
        MissingExtra: It is not.
    """
    try:
        import ray.train.torch  # noqa: F401
    except ImportError as e:
        raise MissingExtra(
            f"executors.ray.fit_workers: Ray Train lacks a package ({e}). Install: pip install 'gtloop[ray,vision]'"
        ) from e


def together(job: Job, room: Room, waits: Step, workers: int) -> Generator[Step, None, None]:
    """Fit in ``workers`` processes at once, by Ray Train; otherwise as ``alone``.

    Its checkpoints need a folder that all machines share, and so the model comes back with the news.
    """
    check_together()
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # names of images may be relative
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process less: what dies starts anew as it is
    each = {"CPU": room.cpus} | ({"GPU": room.gpus} if room.gpus else {})
    news = Queue(actor_options={"num_cpus": 0})
    with tempfile.TemporaryDirectory(prefix="gtloop-train-", dir=job.folder, ignore_cleanup_errors=True) as folder:
        trainer = TorchTrainer(
            member,
            train_loop_config={"job": job, "news": news},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=room.gpus > 0, resources_per_worker=each),
            run_config=RunConfig(name="fit", storage_path=folder),
        )
        try:
            yield from _followed(trainer, news, waits)
        finally:
            news.shutdown(force=True)  # a fit that nobody follows any more ends at its next report


def _followed(trainer: TorchTrainer, news: Queue, waits: Step) -> Generator[Step, None, None]:
    import ray

    outcome: list[Exception] = []

    def run() -> None:
        try:
            trainer.fit()
        except Exception as e:
            outcome.append(e)
        if (actor := news.actor) is not None:  # else nobody follows any more
            actor.put.remote(None)

    threading.Thread(target=run, name="gtloop-fit", daemon=True).start()
    done, quiet = None, True
    while True:
        try:
            step = news.get(timeout=WAIT_S)
        except Empty:
            if quiet:
                yield waits
            continue
        except ray.exceptions.RayError as e:
            raise Died(brief(e)) from e
        if step is None:
            break
        quiet = False
        if step.kind == "done":
            done = step  # not before all have let go of their processors
        else:
            yield step
    if outcome:
        raise _fault(outcome[0]) from outcome[0]
    if done is not None:
        yield done


def _fault(error: Exception) -> Exception:
    """What the detector raised, where that is all that went wrong."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    if failures and all(isinstance(e, GtloopError) for e in failures.values()):
        return failures[min(failures)]
    return Died(brief(error))
