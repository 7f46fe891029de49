"""Whole runs with default settings on real and generated images: one JSON line and one table row each.

    python benchmarks/whole.py raccoons digits streets --seeds 0,1,2 --folder /tmp/whole
    python benchmarks/whole.py streets --target 0.5
    python benchmarks/whole.py birds-bbox birds-classification birds-segmentation --images 600

``raccoons`` (200 photographs, boxes), ``digits`` (4,000, ten classes) and ``streets`` (184, eleven classes of pixels)
lie in ``--data``; ``birds-TASK`` are generated, and labelled by careful people as in ``gtloop demo`` (noise .5). People
are simulated from the truth (annotator ``synthetic``, its default crowd unless ``-o`` says otherwise). Nothing else is
set: detector, sampler, score, sizes, promise and prices are the defaults. A run that is there already (same folder) is
not run again, only reported.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from job import gtloop

from gtloop_plugins.demo.scenes import write_dataset
from gtloop_plugins.demo.species import SPECIES

SHARED = Path("/work/shared/data")
STREETS = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
COLUMNS = [
    "data",
    "seed",
    "target",
    "people",
    "machine",
    "certified",
    "true:machine",
    "target met",
    "true:people",
    "true:all",
    "paid",
    "saved",
    "minutes",
]


class Data(NamedTuple):
    """What ``gtloop run`` is told."""

    images: Path
    truth: Path
    task: str
    classes: tuple[str, ...]
    options: tuple[str, ...] = ()


def real(root: Path) -> dict[str, Data]:
    return {
        "raccoons": Data(root / "raccoons/images", root / "raccoons/annotations", "bbox", ("raccoon",)),
        "digits": Data(root / "digits", root / "digits", "classification", tuple("0123456789")),
        "streets": Data(root / "streets/images", root / "streets/masks", "segmentation", STREETS),
    }


def birds(name: str, folder: Path, n: int) -> Data:
    """Generated pictures for a task; as ``gtloop demo`` has them."""
    task = name.removeprefix("birds-")
    write_dataset(folder / name, n, seed=0, task=task)
    images, truth = folder / name / "images", folder / name / "truth.jsonl"
    careful = "annotators.synthetic.noise=0.5"
    if task == "segmentation":
        background = "tasks.segmentation.background=background"
        return Data(images, folder / name / "masks", task, ("background", "bird"), (careful, background))
    return Data(images, truth, task, ("bird",) if task == "bbox" else SPECIES, (careful,))


def measure(name: str, data: Data, seed: int, folder: Path, target: float | None, options: list[str]) -> dict[str, Any]:
    """One run to its end, and what its report says."""
    run = folder / f"{name}-{seed}{'' if target is None else f'-{target:g}'}"
    more = [part for option in (*data.options, *options) for part in ("-o", option)]
    if target is not None:
        more += ["--target", str(target)]
    source = [str(data.images), "--run", str(run), "--truth", str(data.truth), "--classes", ",".join(data.classes)]
    started = time.monotonic()
    gtloop("run", *source, "--task", data.task, "--annotator", "synthetic", "--seed", str(seed), "--json", *more)
    wall = time.monotonic() - started
    report = json.loads(gtloop("report", str(run), "--truth", str(data.truth), "--json"))
    seconds: dict[str, float] = {}
    for i in report["iterations"]:
        for step, value in i["seconds"].items():
            seconds[step] = round(seconds.get(step, 0.0) + value, 1)
    promise = report["promise"]
    return {
        "data": name,
        "seed": seed,
        "wall_s": round(wall, 1),
        "steps_s": seconds,
        "items": report["items"],
        "cost_usd": report["cost_usd"],
        "saving": report["saving"],
        "promise": {k: promise.get(k) for k in SHOWN} | {"met": _met(promise)},
        "quality": {k: report["quality"][k]["mean"] for k in ("human", "machine", "all")},
    }


SHOWN = ("target", "certified", "estimated", "true", "why")


def _met(promise: dict[str, Any]) -> bool | None:
    """Whether the machine labels are as good as was asked for, certified or not."""
    least = promise["target"] if promise["kind"] == "selective" else 1 - promise["max_loss"]
    return None if promise["true"] is None else bool(promise["true"] >= least)


def row(r: dict[str, Any]) -> str:
    """A line of a Markdown table."""

    def number(value: float | None, form: str = ".3f") -> str:
        return "–" if value is None else format(value, form)

    p, q = r["promise"], r["quality"]
    cells = (
        r["data"],
        r["seed"],
        number(p["target"], ".2f"),
        r["items"]["human"],
        r["items"]["machine"],
        number(p["certified"]),
        number(q["machine"]),
        "–" if p["met"] is None else "yes" if p["met"] else "no",
        number(q["human"]),
        number(q["all"]),
        f"${r['cost_usd']['total']:,.2f} of ${r['cost_usd']['if_all_human']:,.2f}",
        "–" if r["saving"] is None else f"{r['saving']:.1%}",
        f"{sum(r['steps_s'].values()) / 60:.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="raccoons, digits, streets, birds-TASK")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--target", type=float)
    parser.add_argument("--images", type=int, default=600, help="generated pictures")
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/gtloop-whole"), help="pictures and runs")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="any option")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    known, rows = real(a.data), []
    for name in a.names:
        data = known[name] if name in known else birds(name, a.folder, a.images)
        for seed in map(int, a.seeds.split(",")):
            found = measure(name, data, seed, a.folder, a.target, a.options)
            print(json.dumps(found), flush=True)
            rows.append(row(found))
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
