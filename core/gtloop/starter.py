"""The commented ``gtloop.toml`` that ``gtloop init`` writes."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gtloop import config
from gtloop.errors import UsageError
from gtloop.listing import list_images, skipped_files
from gtloop.plugin_options import annotator_defaults
from gtloop.wording import counted

if TYPE_CHECKING:
    from gtloop.registry import Registry

TEMPLATE = """\
# Settings of `gtloop run` in this folder. Flags override them; `gtloop plugins show NAME` lists a plugin's options.

[run]
source = {source}
{task:<30} # installed: {tasks}
classes = {classes}
annotator = "local"            # a web page; installed: {annotators}
{detector:<30} # for this task: {detectors}
{sampler:<30} # installed: {samplers}
{score:<30} # installed: {scores}
{workers:<30} # people who answer each item
# budget_usd = 50.0            # hard cap on everything paid
# seed = 0
# preset = "default"           # or "ground-truth": the service's own rule, sizes and prices
# truth = "labels.jsonl"       # known labels, for annotator = "synthetic"; any format that is read

[promise]                      # docs/promise.md
# kind = "selective"           # machine labels have a mean quality of at least `target`; or "dataset" with max_loss
{target:<30} # the default; quality is {metric}
# delta = 0.1                  # probability that the promise may be broken

[prices]                       # dollars
{answer:<30} # for one worker's answer
# item_fee_usd = "0"           # platform fee for an item that people label
# machine_fee_usd = "0"        # platform fee for an item that the machine labels

# [annotators.local]           # options of a plugin: [kinds.name]
# people = ["anna", "ben"]     # who gets a link to the page
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
    skipped: Counter[str] = Counter()
    count = sum(1 for _ in list_images(images, skipped))
    relative = images if "://" in images else str(Path(images))
    text = TEMPLATE.format(
        source=json.dumps(relative), classes=json.dumps(list(classes or ())), **_of_task(task, registry)
    )
    path.write_text(text, "utf-8")
    todo = "gtloop run" if classes else "name your categories in run.classes, then: gtloop run"
    left_out = f" ({skipped_files(skipped)})" if skipped else ""
    return f"{path} written for {counted(count, 'image')}{left_out}. Next: {todo}"


def _of_task(task: str, registry: Registry) -> dict[str, str]:
    """What the template says of a task: the defaults that hold for it, and the plugins that are there for it."""
    cls: Any = registry.get("task", task)
    defaults = config.load(None, {"run.task": task}, (), partial(annotator_defaults, registry))
    detectors = [p.cls.name for p in registry.providers("detector") if {cls.name, "*"} & cast(Any, p.cls).tasks]
    names = {f"{kind}s": ", ".join(registry.names(kind)) for kind in ("task", "annotator", "sampler", "score")}
    return {
        **names,
        "detectors": ", ".join(detectors) or "none",
        "task": f"task = {json.dumps(task)}",
        "detector": f"detector = {json.dumps(_usual(detectors))}",
        "sampler": f'# sampler = "{defaults.run.sampler}"',
        "score": f'# score = "{defaults.run.score}"',
        "workers": f"# workers = {defaults.run.workers}",
        "target": f"# target = {cls.default_target}",
        "metric": cls.metric,
        "answer": f'# answer_usd = "{defaults.prices.answer_usd}"',
    }


def _usual(detectors: list[str]) -> str:
    return "torchvision" if "torchvision" in detectors or not detectors else detectors[0]
