"""From an item to its prediction: what executors share, wherever they run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gtloop.errors import BadImage, PluginFault, blame
from gtloop.interfaces import Detector, Predicted
from gtloop.records import Item


class Decoded(NamedTuple):
    """One item made ready to predict, or the reason why it can't be."""

    item: Item
    prepared: Any
    fault: str


def decode(detector: Detector, item: Item) -> Decoded:
    """Open an item's image and have the detector prepare it; thread-safe. Fills in a size that is not known yet.

    Raises:
        PluginFault: ``prepare`` raised; names the detector.
        SourceError: No image can be opened just now, which is not the image's fault.
    """
    if not detector.opens_images:
        return Decoded(item, _prepare(detector, None, item), "")
    from gtloop.images import header, open_image

    try:
        if item.width is None:
            width, height, orientation, _ = header(item.uri)
            item = item.model_copy(update={"width": width, "height": height, "orientation": orientation})
        with blame("detector", detector.name, "least_size"):
            least = detector.least_size(*item.display_size) if item.display_size else None
        return Decoded(item, _prepare(detector, open_image(item.uri, least=least), item), "")
    except BadImage as e:
        return Decoded(item, None, str(e) or "unreadable")


def predict_decoded(detector: Detector, model: Any, batch: Sequence[Decoded]) -> list[Predicted]:
    """Predictions of a batch, one for each, in order.

    Raises:
        PluginFault: The detector raised, or returned another number of results; names it.
    """
    good = [d.prepared for d in batch if not d.fault]
    with blame("detector", detector.name, "predict_batch"):
        raws = detector.predict_batch(model, good) if good else []
    if len(raws) != len(good):
        raise PluginFault(
            f"detector {detector.name!r}: predict_batch returned {len(raws)} results for {len(good)} images"
        )
    results = iter(raws)
    return [Predicted(d.item, None, d.fault) if d.fault else Predicted(d.item, next(results)) for d in batch]


def _prepare(detector: Detector, image: Any, item: Item) -> Any:
    with blame("detector", detector.name, "prepare"):
        return detector.prepare(image, item)
