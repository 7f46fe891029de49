"""Networks with their image processors: found, checked, started from a checkpoint, saved and loaded again."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtloop.errors import ConfigError, RunError

from gtloop_huggingface.library import transformers

CARD = "gtloop.json"
OPTION = "detectors.transformers"
KINDS = {"bbox": "ForObjectDetection", "classification": "ForImageClassification"}
"""Task to what the classes of networks that do it are called."""


@dataclass
class Model:
    """A network and the image processor that knows its scale of colours and the meaning of its outputs."""

    net: Any
    processor: Any


def device(wanted: str) -> Any:
    """The device to work on.

    Raises:
        ConfigError: CUDA is wanted, and there is none.
    """
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError(f"{OPTION}.device=cuda, but torch finds no CUDA device; say -o {OPTION}.device=cpu")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


@contextmanager
def seeded(seed: int, where: Any) -> Iterator[None]:
    """All randomness of torch in the block comes from ``seed``, and none is left behind."""
    import torch

    devices = [torch.cuda.current_device()] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def configuration(source: str, task: str, categories: Sequence[str], *, download: bool) -> Any:
    """The configuration of a checkpoint, with the run's categories.

    Raises:
        ConfigError: It is not there, or is no network for the task.
    """
    t = transformers()
    names = dict(enumerate(categories))
    numbers = {name: number for number, name in names.items()}
    with _found(source, download), _hushed():
        config = t.AutoConfig.from_pretrained(
            _place(source), id2label=names, label2id=numbers, local_files_only=not download, trust_remote_code=False
        )
    if type(config) not in _auto(task)._model_mapping:
        raise ConfigError(
            f"{OPTION}.model={source} is of type {config.model_type!r}, which does not do task {task!r}; name one for "
            + ("object detection, such as RT-DETR, D-FINE or DETR" if task == "bbox" else "image classification")
        )
    return config


def start(source: str, task: str, categories: Sequence[str], *, download: bool) -> Model:
    """A checkpoint's network with outputs for the run's categories; outputs that do not fit are made anew.

    Raises:
        ConfigError: As ``configuration``, or it has no weights or no image processor.
    """
    config = configuration(source, task, categories, download=download)
    given = {"local_files_only": not download, "trust_remote_code": False}
    with _found(source, download), _hushed():
        net = _auto(task).from_pretrained(_place(source), config=config, ignore_mismatched_sizes=True, **given)
        processor = transformers().AutoImageProcessor.from_pretrained(_place(source), **given)
    return Model(net, processor)


def save(model: Model, workdir: Path, task: str, categories: Sequence[str], source: str) -> None:
    """Leave a model in a folder, which may be moved."""
    from importlib.metadata import version

    workdir.mkdir(parents=True, exist_ok=True)
    with _hushed():
        model.net.cpu().save_pretrained(workdir)
        model.processor.save_pretrained(workdir)
    versions = {name: version(name) for name in ("torch", "transformers")}
    card = {"detector": "transformers", "task": task, "categories": list(categories), "from": source}
    (workdir / CARD).write_text(json.dumps({**card, "versions": versions}, indent=1) + "\n", encoding="utf-8")


def saved(workdir: Path | None, task: str, categories: Sequence[str]) -> Model:
    """The model that ``save`` left.

    Raises:
        RunError: There is none, or it is for another task or other categories.
    """
    if workdir is None or not (workdir / CARD).is_file():
        raise RunError(f"no model of detector 'transformers' in {workdir}; fit one first")
    card = json.loads((workdir / CARD).read_text(encoding="utf-8"))
    for key, own in (("task", task), ("categories", list(categories))):
        if card.get(key) != own:
            raise RunError(
                f"the model in {workdir} is for {key} {card.get(key)!r}, this run needs {own!r}; fit a new one"
            )
    given = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _hushed():
            net = _auto(task).from_pretrained(str(workdir), **given)
            processor = transformers().AutoImageProcessor.from_pretrained(str(workdir), **given)
    except _faults() as e:
        raise RunError(f"the model in {workdir} is damaged ({_line(e)}); fit a new one") from e
    return Model(net, processor)


def _auto(task: str) -> Any:
    """The library's class that finds the network class of a configuration."""
    found: Any = getattr(transformers(), f"AutoModel{KINDS[task]}")
    return found


def _place(source: str) -> str:
    """A folder, absolute, or a model id as it is.

    Raises:
        ConfigError: It can be no model id, and is no folder.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if source.count("/") > 1 or source.startswith((".", "/", "~")) or path.exists():
        raise ConfigError(f"{OPTION}.model: there is no folder {source}; name one that save_pretrained wrote")
    return source


@contextmanager
def _found(source: str, download: bool) -> Iterator[None]:
    """Say in one line that a checkpoint is not there, or is none."""
    try:
        yield
    except _faults() as e:
        if Path(source).expanduser().is_dir():
            raise ConfigError(f"{OPTION}.model={source} can't be used ({_line(e)}); name another checkpoint") from e
        how = "check its name and the network" if download else f"fetch it with -o {OPTION}.download=true"
        raise ConfigError(
            f"{OPTION}.model={source} is neither a folder nor a model in the local cache of the hub; {how}"
        ) from e


def _faults() -> tuple[type[Exception], ...]:
    """What the library raises where files are missing, damaged, or of something else."""
    from safetensors import SafetensorError

    return OSError, ValueError, SafetensorError


def _line(e: Exception) -> str:
    return " ".join(str(e).split())[:160]


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep the library's remarks about new outputs, and its bars, off the screen: they are wanted."""
    logger = logging.getLogger("transformers")
    before = logger.level
    bars = transformers().utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers().utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
        if bars:
            transformers().utils.logging.enable_progress_bar()
