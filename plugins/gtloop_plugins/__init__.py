"""The built-in plugins, on the same road as anybody else's: one entry point, hooks that yield classes.

Plugin modules are light: what they wrap is imported inside their functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtloop

if TYPE_CHECKING:
    import typer

    from gtloop.events import Event
    from gtloop.interfaces import Annotator, Detector, Executor, Format, Observer, Sampler, Score, Task
    from gtloop.state import State


@gtloop.hookimpl
def gtloop_tasks() -> list[type[Task]]:
    from gtloop_plugins.tasks.bbox import BBox
    from gtloop_plugins.tasks.classification import Classification
    from gtloop_plugins.tasks.segmentation import Segmentation

    return [BBox, Classification, Segmentation]


@gtloop.hookimpl
def gtloop_annotators() -> list[type[Annotator]]:
    from gtloop_plugins.annotators.files import Files
    from gtloop_plugins.annotators.local import Local
    from gtloop_plugins.annotators.mturk import Mturk
    from gtloop_plugins.annotators.synthetic import Synthetic

    return [Files, Local, Mturk, Synthetic]


@gtloop.hookimpl
def gtloop_detectors() -> list[type[Detector]]:
    from gtloop_plugins.detectors.predictions import Predictions
    from gtloop_plugins.detectors.stub import Stub
    from gtloop_plugins.detectors.torchvision import TorchvisionDetector
    from gtloop_plugins.detectors.ultralytics import UltralyticsDetector

    return [Predictions, Stub, TorchvisionDetector, UltralyticsDetector]


@gtloop.hookimpl
def gtloop_samplers() -> list[type[Sampler]]:
    from gtloop_plugins.samplers.coreset import Coreset
    from gtloop_plugins.samplers.diverse import Diverse
    from gtloop_plugins.samplers.most_objects import MostObjects
    from gtloop_plugins.samplers.random import Random
    from gtloop_plugins.samplers.uncertainty import Uncertainty

    return [Coreset, Diverse, MostObjects, Random, Uncertainty]


@gtloop.hookimpl
def gtloop_scores() -> list[type[Score]]:
    from gtloop_plugins.scores.expected import Expected
    from gtloop_plugins.scores.learned import Learned
    from gtloop_plugins.scores.mean import Mean
    from gtloop_plugins.scores.product import Product

    return [Expected, Learned, Mean, Product]


@gtloop.hookimpl
def gtloop_formats() -> list[type[Format]]:
    from gtloop_plugins.formats.coco import Coco
    from gtloop_plugins.formats.csvfile import CsvFile
    from gtloop_plugins.formats.folder import ClassFolders
    from gtloop_plugins.formats.groundtruth import GroundTruth
    from gtloop_plugins.formats.indexmasks import IndexMasks
    from gtloop_plugins.formats.jsonl import JsonLines
    from gtloop_plugins.formats.parquet import Parquet
    from gtloop_plugins.formats.voc import Voc
    from gtloop_plugins.formats.yolo import Yolo

    return [Coco, CsvFile, ClassFolders, GroundTruth, IndexMasks, JsonLines, Parquet, Voc, Yolo]


@gtloop.hookimpl
def gtloop_executors() -> list[type[Executor]]:
    from gtloop_plugins.executors.local import Local
    from gtloop_plugins.executors.ray import Ray

    return [Local, Ray]


@gtloop.hookimpl
def gtloop_observers() -> list[type[Observer]]:
    from gtloop_plugins.observers.webhook import Webhook

    return [Webhook]


@gtloop.hookimpl
def gtloop_commands(app: typer.Typer) -> None:
    from gtloop_plugins.commands import (
        audit,
        change,
        data,
        demo,
        newplugin,
        planning,
        plugins,
        predict,
        report,
        serve,
        workers,
    )
    from gtloop_plugins.commands.reporting import explain
    from gtloop_plugins.formats.groundtruth.jobs import command as groundtruth_job

    importing = change.import_group()
    groundtruth_job.register(importing)
    app.add_typer(importing, name="import")
    newplugin.register(plugins.app)
    app.add_typer(plugins.app, name="plugins")
    audit.register(app)
    change.register(app)
    data.register(app)
    demo.register(app)
    explain.register(app)
    planning.register(app)
    predict.register(app)
    report.register(app)
    serve.register(app)
    workers.register(app)


@gtloop.hookimpl
def gtloop_event(event: Event, state: State) -> None:
    from gtloop_plugins.observers import narrator

    narrator.observe(event, state)
