"""What an executor promises: predictions in order, for every item, whatever one image or plugin does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from gtloop.errors import PluginFault
from gtloop.interfaces import Detector, Executor
from gtloop.records import Raw
from gtloop.testing.case import Case, require
from gtloop.testing.fakes import SIZE, EchoDetector, endless


class _Breaks(EchoDetector):
    """Raises in ``predict_batch``."""

    name = "breaks"
    summary = "a detector that raises in predict_batch"

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        raise ZeroDivisionError("on purpose")


class _Loses(EchoDetector):
    """Returns one prediction too few."""

    name = "loses"
    summary = "a detector that returns one prediction too few"

    def predict_batch(self, model: Any, prepared: Sequence[Any]) -> list[Raw]:
        return super().predict_batch(model, prepared)[1:]


def check_predictions_come_in_order(case: Case) -> None:
    """One prediction for each item, in the order of the items, from its own image."""
    items = [*case.items, *case.items[:4]]
    got = list(_run(case, EchoDetector, items))
    require(len(got) == len(items), f"{len(got)} predictions for {len(items)} items")
    rows = [p.raw["row"] if p.raw else None for p in got]
    require(rows == [i.row for i in items], f"items in the order of their rows come back as rows {rows}")
    sizes = {tuple(p.raw["size"]) for p in got if p.raw}
    require(sizes == {SIZE}, f"images of {SIZE} pixels were given as {sizes}")


def check_a_bad_image_is_a_fault_not_the_end(case: Case) -> None:
    """An unreadable image gives a fault with its reason; the others are predicted."""
    broken = case.path("broken.png")
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"no image")
    items = list(case.items)
    for at in (1, 5):
        items[at] = items[at].model_copy(update={"uri": str(broken), "width": None, "height": None})
    items[7] = items[7].model_copy(update={"uri": str(case.path("absent.png")), "width": None, "height": None})
    got = list(_run(case, EchoDetector, items))
    lost = sorted({i.row for i in items} - {p.item.row for p in got})
    require(not lost, f"images {lost} are dropped; of ten, 1 and 5 are no images and 7 is not there")
    faulty = sorted(p.item.row for p in got if p.raw is None)
    require(
        faulty == [1, 5, 7], f"images 1 and 5 are no images and 7 is not there, but faults are reported at {faulty}"
    )
    require(all(p.fault for p in got if p.raw is None), "a fault without a reason")
    require(not any(p.fault for p in got if p.raw is not None), "a fault with a prediction")


def check_unknown_sizes_are_filled_in(case: Case) -> None:
    """An item whose size was unknown comes back with the stored size of its image."""
    blind = [i.model_copy(update={"width": None, "height": None}) for i in case.items]
    sizes = {(p.item.width, p.item.height) for p in _run(case, EchoDetector, blind)}
    require(
        sizes == {SIZE},
        f"images of {SIZE} pixels whose size was not known come back with the sizes {sorted(sizes, key=str)}",
    )


def check_predicting_streams(case: Case) -> None:
    """The first predictions come before the last item is known."""
    got = list(islice(_run(case, EchoDetector, endless(case.items)), 25))
    require(len(got) == 25, f"of an endless stream of items, it predicts {len(got)} and stops")


def check_a_broken_detector_is_named(case: Case) -> None:
    """A detector that raises, or loses a prediction, ends the stream with PluginFault and its name."""
    for cls in (_Breaks, _Loses):
        try:
            list(_run(case, cls, case.items))
        except PluginFault as e:
            require(cls.name in str(e), f"PluginFault does not name the detector: {e}")
        except Exception as e:
            require(False, f"a broken detector raised {type(e).__name__}, not PluginFault: {e}")
        else:
            require(False, f"{cls.summary} went unnoticed")


def check_no_items_no_predictions(case: Case) -> None:
    """Nothing in gives nothing out."""
    require(list(_run(case, EchoDetector, [])) == [], "predictions without items")


def check_fit_reaches_the_detector(case: Case) -> None:
    """``fit`` runs the detector's with the given arguments, reports progress and leaves the model."""
    calls: list[str] = []

    def progress(step: str, done: int, total: int | None, note: str = "") -> None:
        calls.append(step)

    detector = _detector(case, EchoDetector)
    folder = case.path("fit")
    folder.mkdir(parents=True, exist_ok=True)
    figures = case.build().fit(detector, [], folder, seed=11, progress=progress)
    require(figures == {"examples": 0.0}, f"fit returned {figures}, the detector {{'examples': 0.0}}")
    require((folder / "model.json").exists(), "after fit the detector's model is not in the folder that fit was given")
    seed = detector.load(folder)["seed"]
    require(seed == 11, f"fit was given seed 11 and gave the detector {seed}")
    require(calls, "fit reports no progress")


def _detector(case: Case, cls: type[Detector]) -> Detector:
    return cls(cls.Options(), case.context)


def _run(case: Case, cls: type[Detector], items: Any) -> Any:
    detector = _detector(case, cls)
    model: Path = case.path("model")
    model.mkdir(parents=True, exist_ok=True)
    detector.fit([], model, seed=1)
    executor: Executor = case.build()
    return executor.predict(detector, model, items)


EXECUTOR_CHECKS = (
    check_predictions_come_in_order,
    check_a_bad_image_is_a_fault_not_the_end,
    check_unknown_sizes_are_filled_in,
    check_predicting_streams,
    check_a_broken_detector_is_named,
    check_no_items_no_predictions,
    check_fit_reaches_the_detector,
)
