"""Writes a data set while the rows come: Parquet shards, a folder of ``save_to_disk``, or images with metadata."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gtloop.errors import BadImage
from gtloop.imagefolders import FileNames, append, images, left_out, place_image, record
from gtloop.interfaces import ExportRow
from gtloop.labelfiles import MARKER, replacing_folder
from gtloop.remote import contents
from gtloop.urls import local_path

from gtloop_huggingface.dataset import columns
from gtloop_huggingface.library import datasets

if TYPE_CHECKING:
    from gtloop_huggingface.dataset import HuggingFaceOptions

TAG = "tags: [gtloop]"
"""In the card of an export, by which it is known again."""
NUMBERS = "id2label.json"
WITHIN = ""
"""In place of a file: the data set itself holds the image, and all that is known of its label."""
ROWS, BYTES = 1000, 32 << 20
"""Rows, and bytes of images, that are held before they are written."""
_TASKS = {
    "bbox": "object-detection",
    "classification": "image-classification",
    "segmentation": "image-segmentation",
}


def write(
    path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any], options: HuggingFaceOptions
) -> list[str]:
    """Write an export; see ``HuggingFace.write``."""
    categories, frame = list(info["categories"]), str(info.get("frame", "display"))
    unlabelled: Counter[str] = Counter()
    gone = turned = 0
    with replacing_folder(path) as work, (work / MARKER).open("wb") as marker:
        (work / "README.md").write_text(_card(task, info, options.layout), encoding="utf-8")
        if task == "segmentation":
            (work / NUMBERS).write_text(json.dumps(columns.numbers_of(categories), indent=1) + "\n", encoding="utf-8")
        with _writer(work, task, categories, options) as put:
            for row in rows:
                file = None
                if row.label is None:
                    unlabelled[row.reason or row.status] += 1
                elif (file := put(row, columns.values(row, task, frame))) is None:
                    gone += 1
                else:
                    turned += frame == "stored" and row.item.orientation != 1
                if file != WITHIN:
                    payload = None if row.label is None else row.label.payload
                    append(marker, record(row, file, info, format="huggingface", payload=payload))
    said = left_out(unlabelled)
    if gone:
        said.append(f"{images(gone)} not there any more: the label is in {MARKER} only.")
    if turned:
        said.append(f"{images(turned)} turned by EXIF when datasets opens them: stored pixels do not fit them.")
    return said


def _card(task: str, info: Mapping[str, Any], layout: str) -> str:
    """The data set's card: the hub's metadata, and what opens it."""
    files = {"parquet": "data/train-*.parquet", "imagefolder": "data/**", "disk": ""}[layout]
    configs = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {files}\n" if files else ""
    opener = "load_from_disk" if layout == "disk" else "load_dataset"
    return (
        f"---\n{TAG}\ntask_categories: [{_TASKS[task]}]\n{configs}---\n\n"
        f"# Labels of gtloop's run {info.get('run', '')}\n\n"
        f'`datasets.{opener}("PATH")` opens it. Written by gtloop {info.get("version", "")}; task {task}.\n'
    )


@contextmanager
def _writer(work: Path, task: str, categories: list[str], options: HuggingFaceOptions) -> Iterator[Any]:
    """What takes labelled rows, one by one, and says where their image is; None: it is not there any more."""
    if options.layout == "imagefolder":
        with _ImageFolder(work / "data", task, categories, options) as folder:
            yield folder.put
        return
    features = columns.features(task, categories)
    with _Embedded(work, task, categories, features, options) as embedded:
        yield embedded.put
    if options.layout == "disk":
        embedded.save()


class _Embedded:
    """Rows with their images inside, in shards."""

    def __init__(
        self, work: Path, task: str, categories: list[str], features: Any, options: HuggingFaceOptions
    ) -> None:
        self._work, self._task, self._categories, self._features = work, task, categories, features
        self._disk, self._most = options.layout == "disk", options.shard_mb << 20
        self._folder = work / (".arrow" if self._disk else "data")
        self._waiting: list[dict[str, Any]] = []
        self._held = self._shard_bytes = 0
        self._shards: list[Path] = []
        self._out: Any = None

    def __enter__(self) -> _Embedded:
        self._folder.mkdir()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None and self._waiting:
            self._flush()
        if self._out is not None:
            self._out.close()
        if kind is None and not self._disk:
            for n, shard in enumerate(self._shards):
                shard.rename(shard.with_name(f"train-{n:05d}-of-{len(self._shards):05d}.parquet"))

    def put(self, row: ExportRow, values: dict[str, Any]) -> str | None:
        picture = _bytes(row.item.uri)
        if picture is None:
            return None
        values["image"] = {"bytes": picture, "path": Path(row.item.name).name}
        if self._task == "segmentation":
            assert row.label is not None
            scratch = self._folder / ".mask.png"
            columns.write_mask(scratch, row.label.payload, self._categories, row.item.name)
            values["label"] = {"bytes": scratch.read_bytes(), "path": None}
            scratch.unlink()
        self._waiting.append(self._features.encode_example(values))
        self._held += len(picture)
        if len(self._waiting) >= ROWS or self._held >= BYTES:
            self._flush()
        return WITHIN

    def _flush(self) -> None:
        import pyarrow as pa

        if self._out is None or self._shard_bytes >= self._most:
            if self._out is not None:
                self._out.close()
            self._open()
        self._out.write_table(pa.Table.from_pylist(self._waiting, schema=self._features.arrow_schema))
        self._shard_bytes += self._held
        self._waiting.clear()
        self._held = 0

    def _open(self) -> None:
        """Begin a shard."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path, schema = self._folder / str(len(self._shards)), self._features.arrow_schema
        self._out = pa.ipc.new_stream(str(path), schema) if self._disk else pq.ParquetWriter(path, schema)
        self._shards.append(path)
        self._shard_bytes = 0

    def save(self) -> None:
        """Make what ``load_from_disk`` opens of the shards."""
        d = datasets()
        if self._shards:
            whole = d.concatenate_datasets([d.Dataset.from_file(str(shard)) for shard in self._shards])
            whole.save_to_disk(str(self._work), max_shard_size=self._most)
        shutil.rmtree(self._folder)


class _ImageFolder:
    """Images beside ``metadata.jsonl``; that has no nulls, as the library guesses types from its first lines."""

    def __init__(self, folder: Path, task: str, categories: list[str], options: HuggingFaceOptions) -> None:
        self._folder, self._task, self._categories, self._how = folder, task, categories, options.images
        self._files, self._open = FileNames(), ExitStack()
        self._metadata: IO[bytes]

    def __enter__(self) -> _ImageFolder:
        self._folder.mkdir()
        self._metadata = self._open.enter_context((self._folder / "metadata.jsonl").open("wb"))
        return self

    def __exit__(self, *_: Any) -> None:
        self._open.close()

    def put(self, row: ExportRow, values: dict[str, Any]) -> str | None:
        file = self._files.of(row.item.name)
        if not place_image(row.item.uri, self._folder / file, self._how):
            return None
        line: dict[str, Any] = {"file_name": file, **{k: values[k] for k in ("image_id", "name", "width", "height")}}
        if self._task == "segmentation":
            assert row.label is not None
            line["label_file_name"] = f"masks/{Path(file).stem}.png"
            columns.write_mask(
                self._folder / line["label_file_name"], row.label.payload, self._categories, row.item.name
            )
        elif self._task == "bbox":
            line["objects"] = {key: values["objects"][key] for key in ("bbox", "id", "area", "category")}
        else:
            line["label"] = values["label"]
        append(self._metadata, line)
        return file


def _bytes(uri: str) -> bytes | None:
    """An image's file; None where it is not there any more."""
    path = local_path(uri)
    try:
        return contents(uri) if path is None else Path(path).read_bytes()
    except (BadImage, FileNotFoundError):
        return None
