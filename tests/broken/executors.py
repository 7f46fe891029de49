"""Broken executors, made of the built-in ``local``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from broken.row import Row
from gtloop.errors import PluginFault
from gtloop.interfaces import Detector, Example, Predicted, Progress, quiet
from gtloop.records import Item
from gtloop_plugins.executors.local import Local


class Wraps(Local):
    """Passes the predictions of ``local`` through ``change``."""

    def predict(
        self, detector: Detector, model: Path | None, items: Iterable[Item], progress: Progress = quiet
    ) -> Iterator[Predicted]:
        return self.change(super().predict(detector, model, items, progress))

    def change(self, found: Iterator[Predicted]) -> Iterator[Predicted]:
        return found


class AsFinished(Wraps):
    """Executor that yields predictions as they finish, out of order."""

    def change(self, found: Iterator[Predicted]) -> Iterator[Predicted]:
        while pair := list(itertools.islice(found, 2)):
            yield from reversed(pair)


class DropsUnreadable(Wraps):
    """Executor that drops an unreadable image."""

    def change(self, found: Iterator[Predicted]) -> Iterator[Predicted]:
        return (p for p in found if not p.fault)


class ForgetsSizes(Wraps):
    """Executor that does not fill in the sizes of images."""

    def change(self, found: Iterator[Predicted]) -> Iterator[Predicted]:
        for p in found:
            yield p._replace(item=p.item.model_copy(update={"width": None, "height": None}))


class Limited(Wraps):
    """Executor that predicts a limited number of items."""

    def change(self, found: Iterator[Predicted]) -> Iterator[Predicted]:
        return itertools.islice(found, 20)


class HidesFaults(Wraps):
    """Executor that hides a broken detector."""

    def change(self, found: Iterator[Predicted]) -> Iterator[Predicted]:
        try:
            yield from found
        except PluginFault:
            return


class OwnSeed(Local):
    """Executor that does not pass the seed on."""

    def fit(self, detector: Detector, examples: Sequence[Example], workdir: Path, **given: Any) -> dict[str, float]:
        return super().fit(detector, examples, workdir, **{**given, "seed": 0})


ROWS = [
    Row(AsFinished, "check_predictions_come_in_order", "come back as rows [1, 0, 3, 2"),
    Row(DropsUnreadable, "check_a_bad_image_is_a_fault_not_the_end", "images [1, 5, 7] are dropped"),
    Row(ForgetsSizes, "check_unknown_sizes_are_filled_in", "come back with the sizes [(None, None)]"),
    Row(Limited, "check_predicting_streams", "it predicts 20 and stops"),
    Row(HidesFaults, "check_a_broken_detector_is_named", "a detector that raises in predict_batch went unnoticed"),
    Row(OwnSeed, "check_fit_reaches_the_detector", "fit was given seed 11 and gave the detector 0"),
]
