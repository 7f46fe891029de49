"""Which names of torchvision's registry suit which task."""

from __future__ import annotations

import difflib

from gtloop.errors import ConfigError

_MODULES = {"bbox": "detection", "segmentation": "segmentation", "classification": None}
_OTHER_LABELS = ("maskrcnn", "keypointrcnn")
"""Detectors that learn from masks or keypoints of single objects, which no task asks for."""


def names(task: str) -> list[str]:
    """Names of torchvision's models that do ``task``, sorted."""
    from torchvision import models

    part = _MODULES[task]
    module = models if part is None else getattr(models, part)
    return [name for name in models.list_models(module=module) if not name.startswith(_OTHER_LABELS)]


def check(name: str, task: str) -> None:
    """Refuse a name that does not suit the task.

    Raises:
        ConfigError: With the names that do.
    """
    from torchvision import models

    suitable = names(task)
    if name in suitable:
        return
    known = models.list_models()
    if name.startswith(_OTHER_LABELS) and name in known:
        what = f"{name} learns from masks or keypoints of single objects, which task {task} does not ask for"
    elif name in known:
        what = f"{name} does not do task {task}"
    else:
        what = f"torchvision has no model {name!r}"
    close = difflib.get_close_matches(name.lower(), suitable, n=1) or [n for n in suitable if name.lower() in n]
    hint = f"; did you mean {close[0]}?" if close else "."
    raise ConfigError(
        f"detectors.torchvision.model: {what}{hint} For task {task} there are: efficientnet, {', '.join(suitable)}"
    )
