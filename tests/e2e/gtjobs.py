"""A job's folder as SageMaker Ground Truth leaves it below S3OutputPath, after its documented layout."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gtloop import keyed, masks
from gtloop.interfaces import Context, Task
from gtloop.labels import SegmentationLabel
from gtloop.records import Answer, Item, Payload
from gtloop_plugins.tasks.bbox import BBox
from gtloop_plugins.tasks.classification import Classification
from gtloop_plugins.tasks.segmentation import Segmentation

TASKS: dict[str, type[Task]] = {"bbox": BBox, "classification": Classification, "segmentation": Segmentation}
TYPES = {
    "bbox": "groundtruth/object-detection",
    "classification": "groundtruth/image-classification",
    "segmentation": "groundtruth/semantic-segmentation",
}
BUCKET = "s3://pictures/raw"
COLOURS = ("#2ca02c", "#d62728", "#1f77b4")
START = datetime(2019, 1, 18, 9, 0, 0, tzinfo=UTC)
OLD = 3
"""Iterations that are written as in 2019: no acceptance, no times, no milliseconds."""


class Job:
    """Writes a job; what was written where is kept, so that a test knows what has to come out.

    Args:
        root: Folder of the job; its name is the job's.
        task: Of the labels.
        images: Files and true payloads; line i of the manifest is image i.
        categories: All of them, in order.
        workers: People who answer an object.
    """

    def __init__(
        self, root: Path, task: str, images: Sequence[tuple[Path, Payload]], categories: Sequence[str], workers: int = 3
    ) -> None:
        self.root, self.name, self.images, self.categories = root, task, images, tuple(categories)
        self.task = TASKS[task](TASKS[task].Options(), Context(categories=self.categories))
        self.attribute = "category-ref" if task == "segmentation" else "category"
        self.workers = workers
        self.crew = [self.task.worker(keyed.rng(0, "crew", n)) for n in range(7)]
        self.answers: dict[int, list[Answer]] = {}
        self.labels: dict[int, dict[str, Any]] = {}
        self.auto: dict[int, int] = {}
        self.failed: set[int] = set()

    def ref(self, n: int) -> str:
        path = self.images[n][0]
        return f"{BUCKET}/{path.parent.name}/{path.name}"

    def item(self, n: int) -> Item:
        with Image.open(self.images[n][0]) as image:
            width, height = image.size
        return Item(
            row=n, id=str(n), name=self.images[n][0].name, uri=str(self.images[n][0]), width=width, height=height
        )

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        return target

    # ------------------------------------------------------------------------------------------- people

    def ask(self, iteration: int, objects: Sequence[int], answers: int | None = None) -> None:
        """People answer objects in an iteration, and the service consolidates them."""
        made = []
        for n in objects:
            self._answer(iteration, n, self.workers if answers is None else answers)
            made.append(self._consolidate(iteration, n))
        folder = "annotations/consolidated-annotation/consolidation-response"
        self.write(f"{folder}/iteration-{iteration}/2019-01-18_{iteration % 24:02d}:30:00.json", json.dumps(made))
        if iteration > OLD:  # consolidated again: objects recur
            self.write(
                f"{folder}/iteration-{iteration}/2019-01-18_{iteration % 24:02d}:40:00.json", json.dumps(made[:1])
            )
        self.intermediate(iteration)

    def _answer(self, iteration: int, n: int, count: int) -> None:
        rng = keyed.rng(1, "answers", n)
        said: list[dict[str, Any]] = []
        for k, w in enumerate(rng.permutation(len(self.crew))[:count].tolist()):
            found = self.task.simulate(self.images[n][1], self.crew[w], self.item(n), keyed.rng(2, n, w))
            at = START + timedelta(hours=iteration, seconds=60 * k + n)
            entry: dict[str, Any] = {
                "answerContent": self.widget(found.payload if found.outcome == "label" else None, n),
                "submissionTime": at.isoformat(timespec="seconds" if iteration <= OLD else "milliseconds").replace(
                    "+00:00", "Z"
                ),
                "workerId": f"public.us-east-1.WORKER{w}",
            }
            if iteration > OLD:
                entry["acceptanceTime"] = (at - timedelta(seconds=50)).isoformat().replace("+00:00", "Z")
                entry["timeSpentInSeconds"] = 12.5 + k
                sub = {"identityProviderType": "Cognito", "issuer": "https://cognito", "sub": f"SECRET-SUB-{w}"}
                entry["workerMetadata"] = {"identityData": sub}
            said.append(entry)
            outcome = found.outcome if found.payload is not None or found.outcome != "label" else "empty"
            self.answers.setdefault(n, []).append(
                Answer(
                    id=f"{n}-{w}",
                    request=str(n),
                    worker=f"WORKER{w}",
                    outcome=outcome,
                    payload=found.payload,
                    at=at.isoformat(),
                )
            )
        folder = f"annotations/worker-response/iteration-{iteration}/{n}"
        halves = [said] if iteration <= OLD else [said[:1], said[1:]]  # files come as answers do
        for h, half in enumerate(halves):
            self.write(f"{folder}/2019-01-18_{iteration % 24:02d}:2{h}:00.json", json.dumps({"answers": half}))

    def widget(self, payload: Payload | None, n: int) -> dict[str, Any]:
        item = self.item(n)
        size = {"inputImageProperties": {"width": item.width, "height": item.height}}
        if self.name == "classification":
            assert payload is not None
            return {"crowd-image-classifier": {"label": payload["category"]}}
        if self.name == "bbox":
            boxes = [{"label": b["category"], **_place(b["xyxy"])} for b in (payload or {"boxes": []})["boxes"]]
            return {"boundingBox": {**({"boundingBoxes": boxes} if boxes else {}), **size}}
        assert payload is not None
        index = masks.to_map(SegmentationLabel.model_validate(payload), self.categories)
        table = np.array([[255, 255, 255], *([*bytes.fromhex(c[1:])] for c in COLOURS)], np.uint8)
        rgb = table[np.where(index < 0, 0, index + 1)]
        png = io.BytesIO()
        Image.fromarray(rgb).save(png, "PNG")
        mappings = {c: {"color": COLOURS[k]} for k, c in enumerate(self.categories)}
        data = {"pngImageData": base64.b64encode(png.getvalue()).decode()}
        return {"annotatedResult": {"labelMappings": mappings, "labeledImage": data, **size}}

    def _consolidate(self, iteration: int, n: int) -> dict[str, Any]:
        made = self.task.consolidate([a for a in self.answers[n] if a.outcome != "declined"], {})
        payload = made.payload if made.payload is not None else self.images[n][1]
        self.labels[n] = self.line(n, payload, 0.9, "yes", iteration)
        return {"datasetObjectId": str(n), "consolidatedAnnotation": {"content": self.labels[n]}}

    # ------------------------------------------------------------------------------------------ machine

    def label(self, iteration: int, objects: Sequence[int], extra: Mapping[str, Any] = {}) -> None:
        """The model labels objects."""
        lines = []
        for n in objects:
            self.auto[n] = iteration
            self.labels[n] = self.line(n, self.images[n][1], 0.7, "no", iteration) | dict(extra)
            lines.append(f"{n} {json.dumps({'source-ref': self.ref(n), **self.labels[n]}, ensure_ascii=False)}\n")
        self.write(f"activelearning/{self.root.name}/{iteration}/auto-1/auto_annotator_output.txt", "".join(lines))
        self.intermediate(iteration)

    def line(self, n: int, payload: Payload, sure: float, people: str, iteration: int) -> dict[str, Any]:
        """The label attribute and its metadata."""
        made: dict[str, Any] = {
            "type": TYPES[self.name],
            "job-name": f"labeling-job/{self.root.name}",
            "human-annotated": people,
            "creation-date": (START + timedelta(hours=iteration)).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        }
        if self.name == "classification":
            value: Any = self.categories.index(payload["category"])
            made = {"class-name": payload["category"], "confidence": sure, **made}
        elif self.name == "bbox":
            item, boxes = self.item(n), payload["boxes"]
            ids = [self.categories.index(b["category"]) for b in boxes]
            value = {
                "image_size": [{"width": item.width, "height": item.height, "depth": 3}],
                "annotations": [{"class_id": i, **_place(b["xyxy"])} for i, b in zip(ids, boxes, strict=True)],
            }
            names = {str(i): self.categories[i] for i in sorted(set(ids))}
            made = {"objects": [{"confidence": sure} for _ in boxes], "class-map": names, **made}
        else:
            value = self._mask(n, payload)
            names = {"0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": sure}}
            for i, c in enumerate(self.categories):
                names[str(i + 1)] = {"class-name": c, "hex-color": COLOURS[i], "confidence": sure}
            made = {"internal-color-map": names, **made}
        return {self.attribute: value, f"{self.attribute}-metadata": made}

    def _mask(self, n: int, payload: Payload) -> str:
        index = masks.to_map(SegmentationLabel.model_validate(payload), self.categories)
        path = self.root / "annotations/consolidated-annotation/output" / f"{n}_2019-01-18.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.where(index < 0, 0, index + 1).astype(np.uint8))
        image.putpalette([255] * 3 + [v for c in COLOURS for v in bytes.fromhex(c[1:])])
        image.save(path)
        return f"s3://output/{self.root.name}/annotations/consolidated-annotation/output/{path.name}"

    # ---------------------------------------------------------------------------------------- manifests

    def fail(self, objects: Sequence[int]) -> None:
        """Nobody answers objects before they expire."""
        self.failed |= set(objects)

    def intermediate(self, iteration: int) -> None:
        self.write(f"annotations/intermediate/{iteration}/annotations.manifest", self._manifest())

    def finish(self) -> None:
        """The output manifest, as of now."""
        self.write("manifests/output/output.manifest", self._manifest())

    def _manifest(self) -> str:
        lines = []
        for n in range(len(self.images)):
            line: dict[str, Any] = {"source-ref": self.ref(n), "note": "two  blanks", **self.labels.get(n, {})}
            if n in self.failed:
                why = "no worker answered before the task expired"
                made = {"failure-reason": why, "job-name": f"labeling-job/{self.root.name}", "human-annotated": "yes"}
                line[f"{self.attribute}-metadata"] = made
            lines.append(json.dumps(line) + "\n")
        return "".join(lines)


def _place(xyxy: Sequence[float]) -> dict[str, int]:
    x1, y1, x2, y2 = (round(v) for v in xyxy)
    return {"left": x1, "top": y1, "width": max(1, x2 - x1), "height": max(1, y2 - y1)}


def raccoons(data: Path, n: int) -> list[tuple[Path, Payload]]:
    """The first real photographs with their boxes."""
    from xml.etree import ElementTree

    found: list[tuple[Path, Payload]] = []
    for xml in sorted((data / "raccoons/annotations").glob("*.xml"), key=lambda p: int(p.stem.rpartition("-")[2])):
        tree = ElementTree.parse(xml)
        image = data / "raccoons/images" / str(tree.findtext("filename"))
        boxes = [[float(b.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax")] for b in tree.iter("bndbox")]
        if image.is_file():
            found.append((image, {"boxes": [{"category": "raccoon", "xyxy": b} for b in boxes]}))
        if len(found) == n:
            break
    return found


def digits(data: Path, n: int) -> tuple[list[tuple[Path, Payload]], list[str]]:
    """Real digits in turn, with their names as categories."""
    folders = [sorted((data / "digits" / str(d)).glob("*.png")) for d in range(10)]
    files = [(folders[i % 10][i // 10], {"category": str(i % 10)}) for i in range(n)]
    return files, [str(d) for d in range(10)]


def automated(
    root: Path, task: str, images: Sequence[tuple[Path, Payload]], categories: Sequence[str], left: int
) -> Job:
    """A job of automated labelling of 12 iterations, the last one of the machine alone; ``left`` are not labelled.

    Iterations 1 and 2 are random; nobody answers one object, and one gets fewer answers than it should.
    """
    job = Job(root, task, images, categories)
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    share = max(2, (len(images) - left) // 16)
    take = iter(order)

    def some(n: int) -> list[int]:
        return [next(take) for _ in range(n)]

    for iteration in range(1, 12):
        if iteration in (5, 10, 11):
            job.label(iteration, some(share), {"caption": "two  blanks  in a row"} if iteration == 10 else {})
        job.ask(iteration, some(share), answers=2 if iteration == 7 else None)
    rest = some(len(order) - 14 * share - left)
    job.fail(rest[:1])
    job.label(12, rest[1:])
    job.finish()
    return job


def job_of(folder: Path, root: Path) -> Job:
    """Automated labelling of ``folder/photos``, whose boxes stand in ``folder/truth.jsonl``; a third is left."""
    known = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    images = [(folder / "photos" / k["name"], k["payload"]) for k in known]
    return automated(root, "bbox", images, ["crate", "drum"], left=len(images) // 3)
