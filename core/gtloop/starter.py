"""The commented ``gtloop.toml`` that ``gtloop init`` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gtloop.errors import UsageError
from gtloop.listing import list_images

if TYPE_CHECKING:
    from gtloop.registry import Registry

TEMPLATE = """\
# Settings of `gtloop run` in this folder. Flags override them; `gtloop plugins show NAME` lists a plugin's options.

[run]
source = {source}
task = {task}                  # installed: {tasks}
classes = {classes}
annotator = "files"            # installed: {annotators}
detector = {detector}          # installed: {detectors}
# sampler = "uncertainty"      # installed: {samplers}
# score = "expected"           # installed: {scores}
# workers = 3                  # people who answer each item
# budget_usd = 50.0            # hard cap on everything paid
# seed = 0
# preset = "default"           # or "ground-truth": the service's own rule, sizes and prices
# truth = "labels.json"        # known labels, for annotator = "synthetic"

[promise]                      # docs/promise.md
# kind = "selective"           # machine labels have a mean quality of at least `target`; or "dataset" with max_loss
# target = 0.6                 # default: the task's
# delta = 0.1                  # probability that the promise may be broken

[prices]                       # dollars
# answer_usd = "0.036"         # for one worker's answer
# item_fee_usd = "0"           # platform fee for an item that people label
# machine_fee_usd = "0"        # platform fee for an item that the machine labels

# [annotators.files]           # options of a plugin: [kinds.name]
"""


def write_config(
    path: Path, images: str, task: str, classes: tuple[str, ...] | None, registry: Registry, *, force: bool = False
) -> str:
    """Write the file; returns a line that says what comes next.

    Raises:
        UsageError: A file is there already.
        SourceError: There are no images.
    """
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; replace it with --force")
    count = sum(1 for _ in list_images(images))
    registry.get("task", task)
    relative = images if "://" in images else str(Path(images))

    def names(kind: str) -> str:
        return ", ".join(registry.names(kind))

    detectors = registry.names("detector")
    text = TEMPLATE.format(
        source=json.dumps(relative),
        task=json.dumps(task),
        classes=json.dumps(list(classes or ())),
        detector=json.dumps("torchvision" if "torchvision" in detectors else detectors[0]),
        tasks=names("task"),
        annotators=names("annotator"),
        detectors=names("detector"),
        samplers=names("sampler"),
        scores=names("score"),
    )
    path.write_text(text, "utf-8")
    todo = "gtloop run" if classes else "name your categories in run.classes, then: gtloop run"
    return f"{path} written for {count} images. Next: {todo}"
