"""``groundtruth``: augmented manifests of Amazon SageMaker Ground Truth, JSON Lines with ``source-ref``.

Amazon SageMaker Developer Guide, "Input Data" and "Output Data" (``sms-data-input.md``, ``sms-data-output.md``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtloop.interfaces import Entry, ExportRow, Format
from gtloop_plugins.formats.groundtruth.options import GroundTruthOptions
from gtloop_plugins.formats.groundtruth.reading import Manifest
from gtloop_plugins.formats.groundtruth.writing import write_manifest

_LONGEST = 1 << 24  # bytes of a first line that are looked at


class GroundTruth(Format):
    """One JSON object a line: ``source-ref``, a label attribute, its ``-metadata``, and whatever else it holds.

    A line without the label attribute is an image without a label: a job that is chained to the manifest asks for
    exactly these. Written as the service does, with one key more, ``gtloop``: name, row, id, size, frame, status,
    reason and where the label comes from. Masks are palette PNGs in the folder ``<stem>-masks`` beside the manifest.
    Multi-label classification, text, video and point clouds are not supported.
    """

    name = "groundtruth"
    summary = "SageMaker Ground Truth's augmented manifest, JSON Lines"
    Options = GroundTruthOptions
    tasks = frozenset({"bbox", "classification", "segmentation"})
    reads = True
    writes = True
    suffix = ".manifest"

    def sniff(self, path: Path) -> bool:
        """Whether the first line that holds anything is a JSON object with ``source-ref``, and not ``jsonl``'s."""
        if not path.is_file():
            return False
        try:
            with path.open("rb") as file:
                lines = iter(lambda: file.readline(_LONGEST), b"")
                first = next((line for line in lines if line.strip()), b"")
            record = json.loads(first.decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(record, dict) and "source-ref" in record and not {"name", "payload"} <= record.keys()

    def read(self, path: Path, task: str, categories: Sequence[str]) -> Iterator[Entry]:
        """Stream the lines; all keys but ``source-ref`` and the label attribute are extras, as they are.

        An image is called by what ``gtloop`` says, if that fits ``source-ref``, else by the path in ``source-ref``
        without scheme and bucket. A label that failed has no payload, and the service's ``failure-reason`` as
        ``reason``. A confidence of 0 on a label that people made is the service's word for one worker, and left out.

        Raises:
            BadLabels: With the file and line: not JSON, no ``source-ref`` or one twice, several label attributes
                that fit or none but others, a broken label, a category that is not declared, a mask that is not
                there or has a number without a name.
        """
        return Manifest(path, task, categories, self.options).entries()

    def write(self, path: Path, rows: Iterable[ExportRow], task: str, info: Mapping[str, Any]) -> list[str]:
        """Write one line a row, streaming; the manifest (and its folder of masks) appears as a whole.

        Raises:
            UsageError: ``path`` can't be written.
            ConfigError: The label attribute is none that the service takes.
            BadLabels: A category that is not among the run's, or more than 254 of them for masks.
        """
        return write_manifest(path, rows, task, info, self.options)
